"""Files and directories that a command is told to write: checked before the work, written whole after it."""

import os
from pathlib import Path

from transformer.config.errors import UsageError
from transformer.files import write_whole


def check_output_file(option: str, path: Path) -> None:
    """Raise UsageError, naming the command line's option, where the file could not be written: now, not after minutes of work."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{option} {path} is not a regular file; name a file that may be written")
    folder = path.absolute().parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise UsageError(f"{option} {path}: no directory {folder} that may be written to; make it, or name another")


def write_output_file(option: str, path: Path, content: str | bytes) -> None:
    """Write a file so that a failure leaves the old one. Raises UsageError, naming the option, where it cannot be written after all."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}; make room, or name another file") from error


def make_output_directory(option: str, directory: Path) -> None:
    """Make a directory where there is none. Raises UsageError, naming the option, where nothing can be written there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {directory}: {error.strerror}; name another directory") from error
    if not os.access(directory, os.W_OK):
        raise UsageError(f"{option} {directory}: nothing may be written there; name another directory")
