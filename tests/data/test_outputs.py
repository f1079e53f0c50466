"""What a command is told to write: refused before the work where it cannot be written, and the old file is kept where writing fails."""

import errno
import os

import pytest

from transformer.config.errors import UsageError
from transformer.data.outputs import check_output_file, make_output_directory, write_output_file


def refused(function, *arguments):
    with pytest.raises(UsageError) as error:
        function("--output", *arguments)
    message = str(error.value)
    assert message.startswith(f"--output {arguments[0]}")
    assert "\n" not in message
    return message


@pytest.fixture
def forbidden(tmp_path, monkeypatch):
    """A directory that this user may not write to. Pretended: to root, which may run the tests, nothing is forbidden."""
    directory = tmp_path / "forbidden"
    directory.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: os.fspath(path) != str(directory))
    return directory


def test_a_file_that_may_be_written_is_none_yet(tmp_path):
    (tmp_path / "old").write_text("old")
    for name in ("old", "new"):
        check_output_file("--output", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_file_that_cannot_be_written_is_refused(tmp_path, forbidden):
    (tmp_path / "file").touch()
    assert "is not a regular file; name a file that may be written" in refused(check_output_file, tmp_path)
    for folder in (tmp_path / "none", tmp_path / "file", forbidden):
        message = refused(check_output_file, folder / "figures.json")
        assert f"no directory {folder} that may be written to; make it, or name another" in message


def test_a_failure_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "figures.json"
    write_output_file("--output", path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert refused(write_output_file, path, "new") == f"--output {path}: No space left on device; make room, or name another file"
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("figures.json", "old")]


def test_a_directory_is_made_or_refused(tmp_path, forbidden):
    for _ in range(2):
        make_output_directory("--output", tmp_path / "deep" / "directory")
    assert (tmp_path / "deep" / "directory").is_dir()
    (tmp_path / "file").touch()
    for path, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "in", "Not a directory"), (forbidden, "nothing may be")):
        message = refused(make_output_directory, path)
        assert reason in message
        assert message.endswith("; name another directory")
