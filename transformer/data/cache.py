"""The cache on disk: fetched packages, trained tokenizers and tokenized datasets, each under a key that is made of its content.

It lies in `$XDG_CACHE_HOME/encoder-trainer` (by default `~/.cache/encoder-trainer`), or where the environment variable
`ENCODER_TRAINER_CACHE` says. It may be deleted at any time. An entry is written beside its place and renamed into it, so a killed process
leaves no half entry, and of two processes that write the same entry the first wins.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformer.config.errors import UsageError
from transformer.files import PARTIAL, make_whole

DAY = 86400.0


def cache_directory() -> Path:
    """The cache's root; it need not exist."""
    if own := os.environ.get("ENCODER_TRAINER_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "encoder-trainer"


def content_key(parts: Any) -> str:
    """SHA-256 of a JSON value; the same for equal values, in every process."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def cached(kind: str, name: str, write: Callable[[Path], None]) -> Path:
    """Path of the cache entry `kind/name`; where there is none, `write` fills an empty directory that becomes it.

    Raises UsageError where the disk is full or the cache cannot be written, and whatever `write` raises; nothing is left behind then.
    """
    parent = cache_directory() / kind
    entry = parent / name
    if entry.exists():
        return entry
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        make_whole(entry, write)
    except FileExistsError:
        if not entry.exists():
            raise
        # Another process was first, and its entry is as good.
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR}:
            raise UsageError(
                f"cannot write to the cache {cache_directory()}: {error.strerror}; make room there, or set ENCODER_TRAINER_CACHE to a "
                "directory with room that you may write to"
            ) from error
        raise
    return entry


def _remove_abandoned(parent: Path) -> None:
    """A killed process leaves its partial directory; one that nobody touched for a day belongs to nobody."""
    for partial in parent.glob(f"*{PARTIAL}"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > DAY:
                shutil.rmtree(partial, ignore_errors=True)
