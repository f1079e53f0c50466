"""A directory is made whole or not at all, and what others made meanwhile stays."""

import pytest

from transformer.files import make_whole


def test_a_directory_that_another_process_made_meanwhile_stays(tmp_path):
    def write(directory):
        (directory / "mine").touch()
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "theirs").touch()

    with pytest.raises(FileExistsError, match="made"):
        make_whole(tmp_path / "made", write)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["made", "made/theirs"]


def test_while_it_is_written_it_is_not_there(tmp_path):
    def write(directory):
        assert not (tmp_path / "made").exists()
        (directory / "file").touch()

    make_whole(tmp_path / "made", write)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["made", "made/file"]
