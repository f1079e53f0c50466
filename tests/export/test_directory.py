"""A directory is written whole or not at all."""

import pytest

from transformer.config.errors import RunError, UsageError
from transformer.export.directory import write_directory


def write(directory):
    (directory / "file").write_text("content")


def everything(directory):
    return sorted(path.relative_to(directory) for path in directory.rglob("*"))


@pytest.mark.parametrize("inside", ["out", "some/where/out"])
def test_it_holds_what_was_written_and_nothing_lies_beside_it(tmp_path, inside):
    write_directory(tmp_path / inside, write)
    assert (tmp_path / inside / "file").read_text() == "content"
    assert [path.name for path in (tmp_path / inside).parent.iterdir()] == ["out"]
    assert (tmp_path / inside).stat().st_mode & 0o777 == 0o755


def test_an_empty_directory_is_filled_and_a_link_to_it_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_directory(tmp_path / "link", write)
    assert (tmp_path / "real" / "file").exists()


@pytest.mark.parametrize("inside", ["out", "some/where/out"])
@pytest.mark.parametrize(
    ("failure", "expected"), [(ValueError("no"), ValueError), (KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "full"), RunError)]
)
def test_a_failure_leaves_nothing(tmp_path, inside, failure, expected):
    def fail(directory):
        write(directory)
        raise failure

    with pytest.raises(expected):
        write_directory(tmp_path / inside, fail)
    assert everything(tmp_path) == []


def test_what_lies_there_is_refused_and_stays(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    before = everything(tmp_path)
    for name in ("full", "file"):
        with pytest.raises(UsageError, match="remove it or name another"):
            write_directory(tmp_path / name, write)
    assert everything(tmp_path) == before
