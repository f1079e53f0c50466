"""Files and directories that are written whole or not at all, and directories that one process at a time writes to."""

import contextlib
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

PARTIAL = ".partial"
"""Ending of a file's or a directory's name while it is written."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, so that a kill leaves the old one or the new one."""
    beside = path.with_name(path.name + PARTIAL)
    try:
        with beside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def make_whole(directory: Path, write: Callable[[Path], None]) -> None:
    """Make a directory what `write` makes of an empty one beside it, so that a kill leaves all of it or nothing.

    Raises FileExistsError where there is one by then that is not empty, and whatever `write` raises; nothing is left behind then.
    """
    partial = Path(tempfile.mkdtemp(prefix=f"{directory.name}.", suffix=PARTIAL, dir=directory.parent))
    try:
        write(partial)
        partial.chmod(0o755)
        try:
            partial.rename(directory)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise FileExistsError(error.errno, error.strerror, str(directory)) from error
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep the directory from whoever else locks it; the system ends the lock with the process, however that ends.

    Raises BlockingIOError where another process has it. Where the file system has no locks, nobody is kept out.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # as some network file systems do
            pass
        yield
    finally:
        os.close(descriptor)
