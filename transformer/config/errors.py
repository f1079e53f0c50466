"""The two errors a person may see, and the exit codes that go with them."""

import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn


class UsageError(Exception):
    """Something the person wrote is wrong: config, command line or data. Exit code 2, no traceback.

    The message says what is wrong, where, and what to type instead.
    """


class RunError(Exception):
    """Something failed while running, such as a loss that is not finite. Exit code 1, or 2 where its cause is a full disk; no traceback.

    The message says what happened and what to do.
    """


def run_command(main: Callable[[], None]) -> NoReturn:
    """Run a command's main function; turn the two errors above, and what may stop any command, into a message and an exit code.

    A full disk is 2, and so is a file that this user may not read or write; too little memory is 1, an interrupt (Ctrl-C) that `main`
    leaves to us 130. Where the reader of standard output has left, as `head` does, it has seen enough: 0, and no message.
    """
    try:
        main()
        print(end="", flush=True)  # not at the interpreter's exit, where nothing could be told
    except UsageError as error:
        _leave(2, f"error: {error}")
    except RunError as error:
        _leave(2 if _disk_is_full(error.__cause__) else 1, f"error: {error}")
    except KeyboardInterrupt:
        _leave(130, "interrupted; what was complete is kept, and the same command begins again")
    except BrokenPipeError:
        if not _reader_has_left():
            raise
        # The interpreter flushes once more at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except PermissionError as error:
        if error.filename is None:  # no file was refused, but a connection, for example
            raise
        _leave(2, f"error: {error.filename} may not be read or written: {error.strerror}; name another, or ask its owner to permit it")
    except Exception as error:
        if _disk_is_full(error):
            _leave(2, f"error: {error}; make room, then run the same command again: what was complete is kept")
        if not _memory_is_exhausted(error):
            raise
        reason = next(iter(str(error).splitlines()), "out of memory")
        _leave(
            1, f"error: too little memory ({reason}); train with smaller batching.tokens or model.width, or with more training.accumulation"
        )
    sys.exit(0)


def _leave(code: int, message: str) -> NoReturn:
    sys.stderr.write(message + "\n")
    sys.exit(code)


def _disk_is_full(error: BaseException | None) -> bool:
    # Not every library keeps the number: Orbax's writer (TensorStore) has it in the text alone.
    return getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or os.strerror(errno.ENOSPC) in str(error)


def _memory_is_exhausted(error: Exception) -> bool:
    # JAX, which is not imported here, has no class of its own for it.
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _reader_has_left() -> bool:
    """Whether the broken pipe is standard output's, and not that of a connection to elsewhere."""
    try:
        print(flush=True)
    except BrokenPipeError:
        return True
    return False
