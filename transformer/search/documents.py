"""The documents that are searched: a JSON lines file, an object with `id`, `title` and `text` a line."""

import codecs
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int

from transformer.config.errors import RunError, UsageError

EXAMPLE = '{"id": "1", "title": "Grain exports", "text": "Wheat exports rose in May."}'


@dataclass(frozen=True)
class Document:
    """One document."""

    id: str | int
    title: str
    text: str


@dataclass(frozen=True)
class Documents:
    """The documents of a file, each read when it is asked for."""

    path: Path
    version: tuple[int, ...]
    """Of the file that was read (see `file_version`): another one has its documents elsewhere."""
    starts: Int[np.ndarray, " documents"]
    """The byte at which each document's line begins."""

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Document:
        return self.block(index, index + 1)[0]

    def block(self, start: int, stop: int) -> list[Document]:
        """The documents from `start` to before `stop`. Raises RunError where the file is no longer the one that was read."""
        found = []
        with self._open() as file:
            for index in range(start, min(stop, len(self))):
                file.seek(int(self.starts[index]))
                found.append(_parse(file.readline(), f"document {index + 1} of {self.path}"))
        return found

    def _open(self) -> BinaryIO:
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise RunError(f"{self.path} can no longer be read: {error.strerror}; put it back, and run the same command again") from error
        if _version(os.fstat(file.fileno())) != self.version:
            file.close()
            raise RunError(f"{self.path} changed while it was in use; run the same command again")
        return file


def file_version(path: Path) -> tuple[int, ...]:
    """What differs once a file is written to or replaced. Raises UsageError where there is none."""
    try:
        return _version(path.stat())
    except OSError as error:
        raise _unreadable(path, error) from error


def _version(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def read_documents(path: Path) -> Documents:
    """Read a file through once and keep where each document begins; empty lines are passed over.

    Raises:
        UsageError: there is no such file, or no document in it; or a line is not UTF-8, not JSON, lacks one of the three entries, or has an
          id that stood before. The message names the line.
    """
    version = file_version(path)
    starts: list[int] = []
    lines: dict[str | int, int] = {}
    for number, start, line in _lines(path):
        if not line.strip():
            continue
        document = _parse(line, f"line {number} of {path}")
        if (first := lines.setdefault(document.id, number)) != number:
            raise UsageError(f"line {number} of {path} has the id {document.id!r}, which stands in line {first} too; give each its own")
        starts.append(start)
    if not starts:
        raise UsageError(f"{path} holds no documents; write a JSON object a line: {EXAMPLE}")
    return Documents(path, version, np.array(starts, np.int64))


def content_hash(path: Path) -> str:
    """SHA-256 of a file. Raises UsageError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    try:
        with path.open("rb") as file:
            start = 0
            for number, line in enumerate(file, start=1):
                yield number, start, line
                start += len(line)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"--documents {path}: {error.strerror}; name a JSON lines file, an object a line such as {EXAMPLE}")


def _parse(line: bytes, where: str) -> Document:
    try:
        row = json.loads(line.removeprefix(codecs.BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} is not UTF-8 (byte {error.start + 1}); convert the file") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON: {error}; write an object such as {EXAMPLE}") from error
    if not isinstance(row, dict):
        raise UsageError(f"{where} is not a JSON object; write one such as {EXAMPLE}")
    if missing := [name for name in ("id", "title", "text") if row.get(name) is None]:
        raise UsageError(f"{where} has no {' and no '.join(missing)}; write an object such as {EXAMPLE}")
    if isinstance(row["id"], bool) or not isinstance(row["id"], str | int):
        raise UsageError(f"{where}: its id is neither a string nor an integer; write one such as {EXAMPLE}")
    if wrong := [name for name in ("title", "text") if not isinstance(row[name], str)]:
        raise UsageError(f"{where}: its {' and its '.join(wrong)} must be a string; write an object such as {EXAMPLE}")
    try:
        f"{row['id']}{row['title']}{row['text']}".encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{where} escapes half of a surrogate pair; correct it") from error
    return Document(row["id"], row["title"], row["text"])
