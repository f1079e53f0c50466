import errno

import pytest

from transformer.config.errors import UsageError
from transformer.data.dataset import load_dataset
from transformer.training import run_directory


@pytest.mark.parametrize("other", [False, True])
def test_a_start_that_fails_removes_what_it_made_but_no_other_run(make_config, tmp_path, monkeypatch, other):
    """Of two trainings that are started together in a fresh checkout, both find no runs/."""
    runs = tmp_path / "made" / "runs"

    def full(path, content):
        if other:
            (runs / "other").mkdir()
            (runs / "other" / "config.yaml").touch()
        path.with_suffix(".partial").touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_directory, "write_whole", full)
    config = make_config()
    with (
        pytest.raises(UsageError, match="could not be written: No space left on device"),
        run_directory.run_directory(runs / "run", config, load_dataset(config, print)),
    ):
        pass
    assert not (runs / "run").exists()
    assert (runs / "other" / "config.yaml").exists() == other
    assert (tmp_path / "made").exists() == other
