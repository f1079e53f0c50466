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
    """Run a command's main function; turn the two errors above, and a full disk, into a message and an exit code."""
    try:
        main()
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except RunError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if _disk_is_full(error.__cause__) else 1)
    except OSError as error:
        if not _disk_is_full(error):
            raise
        sys.stderr.write(f"error: {error}; make room, then run the same command again: what was complete is kept\n")
        sys.exit(2)
    sys.exit(0)


def _disk_is_full(error: BaseException | None) -> bool:
    # Not every library keeps the number: Orbax's writer (TensorStore) has it in the text alone.
    return getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or os.strerror(errno.ENOSPC) in str(error)
