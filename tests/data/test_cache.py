"""The cache holds whole entries or none, whatever happens to the process that writes them."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transformer.config.errors import UsageError
from transformer.data.cache import cache_directory, cached, content_key


def write_content(directory: Path) -> None:
    (directory / "content").write_text("whole")


def test_an_entry_is_written_once(cache: Path) -> None:
    first = cached("kind", "name", write_content)
    assert first == cache / "kind" / "name"
    assert (first / "content").read_text() == "whole"
    assert cached("kind", "name", lambda _: pytest.fail("written again")) == first


def test_a_failed_write_leaves_nothing(cache: Path) -> None:
    def fail(directory: Path) -> None:
        write_content(directory)
        raise UsageError("bad data")

    with pytest.raises(UsageError, match="bad data"):
        cached("kind", "name", fail)
    assert list((cache / "kind").iterdir()) == []


def test_a_killed_process_leaves_no_entry(cache: Path) -> None:
    program = (
        "import os, signal; from transformer.data.cache import cached\n"
        "def write(directory):\n"
        "    (directory / 'content').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "cached('kind', 'name', write)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode < 0
    assert not (cache / "kind" / "name").exists()
    assert (cached("kind", "name", write_content) / "content").read_text() == "whole"


def test_what_a_killed_process_left_is_removed_after_a_day(cache: Path) -> None:
    left = cache / "kind" / "old.partial"
    left.mkdir(parents=True)
    cached("kind", "one", write_content)
    assert left.exists(), "it may belong to a process that is still at work"
    os.utime(left, (time.time() - 2 * 86400,) * 2)
    cached("kind", "two", write_content)
    assert not left.exists()


def test_of_two_processes_the_first_wins() -> None:
    def write(directory: Path) -> None:
        (directory / "content").write_text("second")
        cached("kind", "name", write_content)  # another process, faster than this one

    assert (cached("kind", "name", write) / "content").read_text() == "whole"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_is_full_or_read_only_is_the_persons_to_mend(number: int, cache: Path) -> None:
    def write(directory: Path) -> None:
        write_content(directory)
        raise OSError(number, os.strerror(number))

    with pytest.raises(UsageError, match=rf"{os.strerror(number)}.*ENCODER_TRAINER_CACHE"):
        cached("kind", "name", write)
    assert list((cache / "kind").iterdir()) == []


def test_the_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ENCODER_TRAINER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "encoder-trainer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory() == Path.home() / ".cache" / "encoder-trainer"


def test_a_key_follows_the_values_alone() -> None:
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": "1"})
