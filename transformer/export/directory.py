"""A directory that is written whole or not at all."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from transformer.config.errors import RunError, UsageError
from transformer.files import make_whole


def check_free(directory: Path) -> None:
    """Raise UsageError where something lies at `directory` already; one that is empty may be there."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} exists and is not an empty directory; remove it or name another")


def write_directory(directory: Path, write: Callable[[Path], None]) -> None:
    """Make `directory` what `write` makes of an empty one that lies beside it.

    Raises UsageError where something lies there already, RunError where the disk refuses, and whatever `write` raises; nothing is left
    behind then.
    """
    check_free(directory)
    directory = directory.resolve()
    made = [path for path in directory.parents if not path.exists()]
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        make_whole(directory, write)
    except BaseException as error:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise RunError(f"{directory} could not be written: {error.strerror}; make room or name another directory") from error
        raise
