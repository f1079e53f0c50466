"""SIGKILL at any moment, then the same command again: nothing but time may differ from a run that was never stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from tests.training.conftest import metrics_without_seconds
from transformer.config.load import dump_config
from transformer.training.run import load_run

ROOT = Path(__file__).parents[2]

KILLED_TRAINING = """
import os, signal, sys
from pathlib import Path
from transformer.config.load import load_config
from transformer.training import checkpoints, loop, run_directory

def die(*arguments, **settings):
    os.kill(os.getpid(), signal.SIGKILL)

def at_call(number, function):
    count = [0]
    def counted(*arguments, **settings):
        count[0] += 1
        if count[0] == number:
            die()
        return function(*arguments, **settings)
    return counted

config, directory, moment = sys.argv[1:]
if moment == "start":
    run_directory.write_whole = at_call(2, run_directory.write_whole)
elif moment == "step":
    loop.Experiment.place = at_call(9, loop.Experiment.place)
elif moment == "save":
    start_to_save = checkpoints.orbax.training.Checkpointer.save_checkpointables_async
    def save_and_die(self, *arguments, **settings):
        start_to_save(self, *arguments, **settings)
        die()
    checkpoints.orbax.training.Checkpointer.save_checkpointables_async = save_and_die
elif moment == "summary":
    loop.write_whole = die
loop.train(load_config(config), Path(directory))
"""


def run(config, directory, moment):
    return subprocess.run(
        [sys.executable, "-c", KILLED_TRAINING, str(config), str(directory), moment],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(config.parent / "compiled")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def outcome(directory):
    trained = load_run(directory)
    summary = json.loads((directory / "summary.json").read_text())
    del summary["seconds"], summary["peak_bytes"]
    parameters = [np.asarray(leaf) for leaf in jax.tree.leaves(trained.parameters)]
    return parameters, summary, metrics_without_seconds(directory)


def test_killed_at_four_moments_ends_bit_identical(make_config, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(make_config()))
    whole = run(config, tmp_path / "whole", "never")
    assert whole.returncode == 0, whole.stderr
    for moment in ("start", "step", "save", "summary"):
        killed = run(config, tmp_path / "killed", moment)
        assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
        with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
            file.write('{"step": 1')  # half a line reached the disk
    last = run(config, tmp_path / "killed", "never")
    assert last.returncode == 0, last.stderr
    assert "resuming at step" in last.stdout
    (one, summary, metrics), (other, other_summary, other_metrics) = outcome(tmp_path / "whole"), outcome(tmp_path / "killed")
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert summary == other_summary
    assert metrics == other_metrics
