"""The two errors a person may see, and the exit codes that go with them."""

import sys
from collections.abc import Callable
from typing import NoReturn


class UsageError(Exception):
    """Something the person wrote is wrong: config, command line or data. Exit code 2, no traceback.

    The message says what is wrong, where, and what to type instead.
    """


class RunError(Exception):
    """Something failed while running, such as a loss that is not finite or a full disk. Exit code 1, no traceback.

    The message says what happened and what to do.
    """


def run_command(main: Callable[[], None]) -> NoReturn:
    """Run a command's main function; turn the two errors above into a message and an exit code."""
    try:
        main()
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except RunError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    sys.exit(0)
