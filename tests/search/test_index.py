"""The index: made once, gone on with where it was stopped, made anew when what it was made of has changed."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.search.conftest import small_embedder, write_documents
from transformer import files
from transformer.config.errors import RunError, UsageError
from transformer.search import index as index_module
from transformer.search.index import default_directory, open_index

ROOT = Path(__file__).parents[2]
COUNT, BLOCK = 50, 8

KILLED_INDEXING = """
import os, signal, sys
from pathlib import Path
from tests.search.conftest import small_embedder
from transformer.search import index

index.BLOCK = 8
path = Path(sys.argv[1])
write, written = index._write_rows, []
def write_and_die(*arguments):
    written.append(arguments)
    if len(written) == 6:  # between the keys and the columns of the third block
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments)
index._write_rows = write_and_die
index.open_index(path, index.default_directory(path), small_embedder(), print)
"""


class Counting:
    """An embedder that knows how many texts it was given, and may do something first."""

    def __init__(self, embedder, before=lambda texts: None):
        self.width, self.identity, self._embedder, self._before, self.texts = embedder.width, embedder.identity, embedder, before, 0

    def __call__(self, texts):
        self._before(texts)
        self.texts += len(texts)
        return self._embedder(texts)


@pytest.fixture
def documents(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "BLOCK", BLOCK)
    write_documents(tmp_path / "documents.jsonl", COUNT)
    return tmp_path / "documents.jsonl"


@pytest.fixture
def opened(embedder):
    def open_counting(path, model=embedder, directory=None, before=lambda texts: None):
        """The index, how many texts were embedded for it, and what was reported."""
        counting, told = Counting(model, before), []
        return open_index(path, directory or default_directory(path), counting, told.append), counting.texts, "\n".join(told)

    return open_counting


def test_the_vectors_are_those_of_titles_and_texts(documents, opened, embedder):
    index, _, _ = opened(documents)
    rows = [json.loads(line) for line in documents.read_text().splitlines()]
    np.testing.assert_allclose(index.keys, embedder([row["title"] for row in rows]), atol=1e-5)
    np.testing.assert_allclose(index.columns.T, embedder([row["text"] for row in rows]), atol=1e-5)
    assert [index.documents[row].title for row in (0, COUNT - 1)] == [rows[0]["title"], rows[-1]["title"]]
    assert isinstance(index.keys, np.memmap)
    assert isinstance(index.columns, np.memmap)


def test_a_second_call_embeds_nothing(documents, opened):
    assert opened(documents)[1] == 2 * COUNT
    assert opened(documents)[1:] == (0, "")


def test_killed_in_the_middle_the_next_call_goes_on_from_the_last_whole_block(documents, opened):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_INDEXING, str(documents)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    resumed, texts, told = opened(documents)
    assert texts == 2 * (COUNT - 2 * BLOCK)
    assert "16 of 50 documents are done" in told
    whole, _, _ = opened(documents, directory=documents.with_name("another"))
    np.testing.assert_array_equal(resumed.keys, whole.keys)
    np.testing.assert_array_equal(resumed.columns, whole.columns)


def test_changed_documents_are_indexed_anew_and_the_old_index_stays_readable(documents, opened):
    old, _, _ = opened(documents)
    before = np.array(old.keys)
    write_documents(documents, COUNT - 1)
    new, texts, told = opened(documents)
    assert (len(new.documents), texts) == (COUNT - 1, 2 * (COUNT - 1))
    assert "documents.jsonl has changed since it was indexed" in told
    np.testing.assert_array_equal(old.keys, before)


def test_another_model_indexes_anew(documents, opened):
    first, _, _ = opened(documents)
    second, texts, told = opened(documents, small_embedder(seed=1))
    assert texts == 2 * COUNT
    assert "made with another model" in told
    assert np.abs(first.keys - second.keys).max() > 0.01


@pytest.mark.parametrize("name", ["keys.npy", "columns.npy", "starts.npy"])
def test_a_damaged_index_is_made_anew(documents, opened, name):
    opened(documents)
    file = default_directory(documents) / name
    file.write_bytes(file.read_bytes()[:-4])
    _, texts, told = opened(documents)
    assert texts == 2 * COUNT
    assert "missing or cut short" in told


def test_half_a_line_of_facts_is_no_index(documents, opened):
    opened(documents)
    (default_directory(documents) / "index.json").write_text('{"layout": 1')
    assert opened(documents)[1] == 2 * COUNT


def test_documents_that_change_meanwhile_are_told_and_not_kept(documents, opened):
    with pytest.raises(RunError, match="changed while it was indexed"):
        opened(documents, before=lambda texts: write_documents(documents, COUNT, "{word} {row} {other} {other}"))
    assert opened(documents)[1] == 2 * COUNT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_text(path.read_text()[::-1]), "changed while it was in use"),
        (lambda path: write_documents(path.with_name("new"), 3) or path.with_name("new").replace(path), "changed while it was in use"),
        (lambda path: path.unlink(), "can no longer be read"),
    ],
)
def test_a_document_is_never_read_from_another_file(documents, opened, change, message):
    index, _, _ = opened(documents)
    change(documents)
    with pytest.raises(RunError, match=message):
        index.documents[3]


def test_an_index_that_another_model_makes_anew_meanwhile_is_not_searched(documents, opened, embedder, monkeypatch):
    """The other one begins after the facts were read and before the vectors are opened."""
    opened(documents)
    vectors, other = index_module._vectors, small_embedder(seed=1)
    directory = default_directory(documents)

    def begin_anew(*arguments):
        monkeypatch.setattr(index_module, "_vectors", vectors)
        found = vectors(*arguments)
        index_module._create(documents, directory, index_module.content_hash(documents), other.identity, other.width)
        return found

    monkeypatch.setattr(index_module, "_vectors", begin_anew)
    with pytest.raises(UsageError, match="another process makes the index"):
        opened(documents)


def test_an_index_that_is_gone_meanwhile_is_told(documents, opened, monkeypatch):
    opened(documents)
    difference = index_module._difference

    def compare_and_remove(*arguments):
        found = difference(*arguments)
        (default_directory(documents) / "starts.npy").unlink()
        return found

    monkeypatch.setattr(index_module, "_difference", compare_and_remove)
    with pytest.raises(UsageError, match="another process makes the index"):
        opened(documents)


def test_a_disk_that_is_full_before_the_vectors_says_so(documents, opened, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        opened(documents)
    assert not (default_directory(documents) / "starts.npy").exists()


def test_an_index_that_another_process_makes_is_let_alone(documents, opened):
    other, refused = small_embedder(seed=1), []

    def meanwhile(texts):
        with pytest.raises(UsageError, match=r"another process makes the index .*--index DIR"):
            opened(documents, other)
        refused.append(texts)

    opened(documents, before=meanwhile)
    assert refused
    _, texts, _ = opened(documents)
    assert not texts
    _, texts, told = opened(documents, other)
    assert texts == 2 * COUNT
    assert "made with another model" in told


def test_who_is_refused_leaves_the_directory_to_the_one_that_reads_the_documents(documents, opened, monkeypatch):
    """It is empty until they are read."""
    read, refused = index_module.read_documents, []

    def read_meanwhile(path):
        with pytest.raises(UsageError, match="another process makes the index"):
            opened(documents)
        refused.append(path)
        return read(path)

    monkeypatch.setattr(index_module, "read_documents", read_meanwhile)
    assert opened(documents)[1] == 2 * COUNT
    assert refused == [documents]


@pytest.mark.parametrize("before_the_lock", [True, False])
def test_a_directory_that_another_process_removes_is_told(documents, opened, monkeypatch, before_the_lock):
    """As one does whose documents cannot be read: before this process locks the directory, or while it waits to be given the lock."""
    lock = index_module.locked

    @contextlib.contextmanager
    def locked(directory):
        if before_the_lock:
            directory.rmdir()
        with lock(directory):
            if not before_the_lock:
                directory.rmdir()
            yield

    monkeypatch.setattr(index_module, "locked", locked)
    with pytest.raises(UsageError, match="another process makes the index"):
        opened(documents)


def test_documents_that_cannot_be_read_leave_no_directory(documents, opened):
    documents.write_text("no JSON\n")
    with pytest.raises(UsageError, match="is not JSON"):
        opened(documents)
    assert not default_directory(documents).exists()


def test_a_directory_of_something_else_is_left_alone(documents, opened, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is not an index; name another directory with --index"):
        opened(documents, directory=other)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_told(documents, opened, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be written.*--index DIR"):
        opened(documents, directory=tmp_path / "file" / "index")
