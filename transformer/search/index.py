"""The index of a file of documents: made once, memory-mapped, and continued where a kill stopped it.

It is a directory:

    index.json    what it was made of (hashes of the documents and of the model), and how many documents are done
    starts.npy    the byte at which each document begins in the file of documents [documents]
    keys.npy      the vectors of the titles [documents, width] float32
    columns.npy   the vectors of the texts, transposed [width, documents] float32
"""

import contextlib
import errno
import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float

from transformer.config.errors import RunError, UsageError
from transformer.files import PARTIAL, locked, write_whole
from transformer.search.documents import Documents, content_hash, file_version, read_documents
from transformer.search.embedding import Embedder

LAYOUT = 1
"""Raised by one whenever an index of the same input gets other files."""
BLOCK = 1024
"""Documents that are embedded and written together; what a kill loses at most."""
SECONDS_BETWEEN_REPORTS = 10.0
FILES = {"index.json", "starts.npy", "keys.npy", "columns.npy"}


@dataclass(frozen=True)
class Index:
    """An index that is complete. The arrays are memory-mapped, and read when they are used."""

    documents: Documents
    keys: Float[np.ndarray, "documents width"]
    columns: Float[np.ndarray, "width documents"]


@dataclass(frozen=True)
class Facts:
    """What index.json holds."""

    layout: int
    documents: str
    """Hash of the file."""
    model: str
    """Hash of what the vectors depend on."""
    width: int
    count: int
    """How many documents there are."""
    done: int
    """How many have their vectors in the files."""


def default_directory(documents: Path) -> Path:
    """Where the index of a file lies unless another place is named: beside it."""
    return documents.with_name(documents.name + ".index")


def open_index(path: Path, directory: Path, embedder: Embedder, tell: Callable[[str], None]) -> Index:
    """The index of a file of documents by a model: read, continued, or made. `tell` is given a line about what takes long.

    Raises:
        UsageError: the documents cannot be read (see `read_documents`), or the directory is none of an index, cannot be written, or is
          being written by another process.
        RunError: the documents changed meanwhile.
    """
    version, digest, model = file_version(path), content_hash(path), embedder.identity

    def is_complete() -> bool:
        facts = _read(directory)
        return facts is not None and facts.done == facts.count and _difference(facts, digest, model, path, directory) is None

    if not is_complete():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with locked(directory):
                try:
                    _make(path, version, directory, digest, model, embedder, tell)
                finally:
                    # Documents that cannot be read leave no empty directory; one with files in it stays.
                    with contextlib.suppress(OSError):
                        directory.rmdir()
        except (BlockingIOError, FileNotFoundError) as error:
            # Another process has the lock; or it had, and removed the directory before it was locked here.
            raise _taken(directory) from error
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
                raise
            raise UsageError(
                f"the index {directory} cannot be written: {error.strerror}; name another directory with --index DIR"
            ) from error
    try:
        index = Index(Documents(path, version, np.load(directory / "starts.npy")), *_vectors(directory))
    except FileNotFoundError as error:
        raise _taken(directory) from error
    # Without a lock, so that many may search: the files are those of the facts if these still hold once all are open.
    if not is_complete():
        raise _taken(directory)
    return index


def _taken(directory: Path) -> UsageError:
    return UsageError(f"another process makes the index {directory}; wait for it, or name another directory with --index DIR")


def _make(
    path: Path,
    version: tuple[int, ...],
    directory: Path,
    digest: str,
    model: str,
    embedder: Embedder,
    tell: Callable[[str], None],
) -> None:
    """Continue the index, or make it anew where it is none of these documents by this model."""
    facts = _read(directory)
    if facts is None or (stale := _difference(facts, digest, model, path, directory)):
        if facts is not None:
            tell(f"{stale}: indexing {path} anew")
        facts = _create(path, directory, digest, model, embedder.width)
    if facts.done < facts.count:
        try:
            _complete(Documents(path, version, np.load(directory / "starts.npy")), directory, facts, embedder, tell)
        finally:
            # Whatever went wrong: a changed file is why.
            if content_hash(path) != digest:
                (directory / "index.json").unlink()
                raise RunError(f"{path} changed while it was indexed; run the same command again")


def _vectors(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    keys, columns = (np.load(directory / name, mmap_mode="r") for name in ("keys.npy", "columns.npy"))
    return keys, columns


def _read(directory: Path) -> Facts | None:
    """What is known of the index, if there is one. A directory of something else is refused, before anything is written to it."""
    if directory.exists() and not (directory.is_dir() and {entry.name.removesuffix(PARTIAL) for entry in directory.iterdir()} <= FILES):
        raise UsageError(f"{directory} exists and is not an index; name another directory with --index DIR")
    try:
        return Facts(**json.loads((directory / "index.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _difference(facts: Facts, documents: str, model: str, path: Path, directory: Path) -> str | None:
    """Why the index is not what is needed."""
    if facts.layout != LAYOUT:
        return "the index was made by another version of this program"
    if facts.documents != documents:
        return f"{path} has changed since it was indexed"
    if facts.model != model:
        return "the index was made with another model"
    try:
        keys, columns = _vectors(directory)
        starts = np.load(directory / "starts.npy")
    except (OSError, ValueError):
        return f"files of the index {directory} are missing or cut short"
    whole = (starts.shape, keys.shape, columns.shape) == ((facts.count,), (facts.count, facts.width), (facts.width, facts.count))
    return None if whole else f"files of the index {directory} do not fit together"


def _create(path: Path, directory: Path, documents_hash: str, model: str, width: int) -> Facts:
    """Read the documents through and make the files, whose vectors are still to come."""
    starts = read_documents(path).starts
    # Without index.json, which goes first, it is no index, whatever else there is. The files are unlinked and not emptied: who searches
    # with the old ones has them mapped, and goes on.
    for name in ("index.json", *sorted(FILES - {"index.json"})):
        (directory / name).unlink(missing_ok=True)
    count = len(starts)
    content = io.BytesIO()  # of a full disk, `np.save` does not tell that it is one
    np.save(content, starts)
    write_whole(directory / "starts.npy", content.getvalue())
    for name, shape in (("keys.npy", (count, width)), ("columns.npy", (width, count))):
        with (directory / name).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            file.truncate(file.tell() + count * width * 4)
    facts = Facts(LAYOUT, documents_hash, model, width, count, 0)
    _write_facts(directory, facts)
    return facts


def _complete(documents: Documents, directory: Path, facts: Facts, embedder: Embedder, tell: Callable[[str], None]) -> None:
    """Make the vectors that are missing, block by block."""
    tell(f"indexing {documents.path}: {facts.done:,} of {facts.count:,} documents are done; the index is {directory}")
    reported = time.monotonic()
    with (directory / "keys.npy").open("r+b", buffering=0) as keys, (directory / "columns.npy").open("r+b", buffering=0) as columns:
        for start in range(facts.done, facts.count, BLOCK):
            block = documents.block(start, start + BLOCK)
            vectors = embedder([*(document.title for document in block), *(document.text for document in block)])
            titles, texts = vectors[: len(block)], vectors[len(block) :]
            _write_rows(keys, titles, (facts.count, facts.width), start, 0)
            _write_rows(columns, np.ascontiguousarray(texts.T), (facts.width, facts.count), 0, start)
            # The vectors are on the disk before the line that says so.
            os.fsync(keys.fileno())
            os.fsync(columns.fileno())
            facts = replace(facts, done=start + len(block))
            _write_facts(directory, facts)
            if time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
                tell(f"  {facts.done:,} of {facts.count:,}")
                reported = time.monotonic()


def _write_rows(file: BinaryIO, block: Float[np.ndarray, "rows columns"], shape: tuple[int, int], row: int, column: int) -> None:
    """Write a block into a .npy file of that shape, at its place. Not through a memory map: a full disk would kill the process there."""
    header = os.fstat(file.fileno()).st_size - 4 * shape[0] * shape[1]
    whole = block.shape[1] == shape[1]
    for index, values in enumerate([block] if whole else block):
        file.seek(header + 4 * ((row + index) * shape[1] + column))
        remaining = np.ascontiguousarray(values).data.cast("B")
        while remaining:
            remaining = remaining[file.write(remaining) :]


def _write_facts(directory: Path, facts: Facts) -> None:
    write_whole(directory / "index.json", json.dumps(asdict(facts), indent=1) + "\n")
