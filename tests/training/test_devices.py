import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transformer.config.errors import UsageError
from transformer.config.load import dump_config
from transformer.config.schema import Batching, Recurrent
from transformer.training import devices

ROOT = Path(__file__).parents[2]
TRAINING = """
import sys
from pathlib import Path
import jax
from transformer.config.load import load_config
from transformer.training.loop import train
assert jax.device_count() == int(sys.argv[3])
train(load_config(sys.argv[1]), Path(sys.argv[2]))
"""


def losses(config, directory, count, environment=None):
    simulated = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}
    finished = subprocess.run(
        [sys.executable, "-c", TRAINING, str(config), str(directory), str(count)],
        cwd=ROOT,
        env=environment or simulated,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_eight_devices_have_the_config(make_config, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(make_config(training={"log_every": 1, "epochs": 2, "average_decay": 0.0, "accumulation": 1})))
    one, eight = losses(config, tmp_path / "one", 1), losses(config, tmp_path / "eight", 8)
    assert [(a["step"], a["split"]) for a in one] == [(b["step"], b["split"]) for b in eight]
    assert len(one) > 8
    for a, b in zip(one, eight, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


CORES = """
import jax
from transformer.config.schema import Batching
from transformer.training import devices
devices.make_cores_devices()
assert jax.device_count() == 3
assert [devices.data_mesh(rows, pieces, stepped=True).size for rows, pieces in ((9, 1), (8, 1), (18, 2), (8, 2))] == [3, 2, 3, 2]
assert [devices.data_mesh(rows, stepped=False).size for rows in (9, 8)] == [1, 1]
assert devices.with_divisible_rows(Batching(row_multiple=8)).row_multiple == 8
"""


def with_cores(count):
    """The environment of a process for which the processor has so many cores."""
    others = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return others | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(count)}


def test_a_batch_of_a_stepped_recurrence_is_shared_by_the_cores():
    subprocess.run([sys.executable, "-c", CORES], env=with_cores(3), check=True, timeout=300)


def test_an_lstm_trains_on_four_cores_as_on_one(make_config, tmp_path):
    config = tmp_path / "config.yaml"
    model = Recurrent(kind="lstm", width=16, hidden=8, bidirectional=True, dropout=0.2)
    trained = make_config(training={"log_every": 1, "epochs": 2, "average_decay": 0.0}).model_copy(update={"model": model})
    config.write_text(dump_config(trained))
    one, four = losses(config, tmp_path / "one", 1, with_cores(1)), losses(config, tmp_path / "four", 4, with_cores(4))
    assert len(one) == len(four) > 8
    for a, b in zip(one, four, strict=True):
        assert (a["step"], a["loss"]) == (b["step"], pytest.approx(b["loss"], rel=1e-3))


def test_devices_that_do_not_divide_the_rows_are_told(monkeypatch):
    monkeypatch.setattr(devices.jax, "device_count", lambda: 3)
    with pytest.raises(UsageError, match="row_multiple=3"):
        devices.data_mesh(8)
    with pytest.raises(UsageError, match=r"3 devices and training\.accumulation 2 do not divide .* set batching\.row_multiple=6"):
        devices.data_mesh(9, accumulation=2)


@pytest.mark.parametrize(("count", "rows"), [(1, 8), (2, 8), (3, 24), (12, 24)])
def test_predictions_have_rows_that_all_devices_divide(monkeypatch, count, rows):
    monkeypatch.setattr(devices.jax, "device_count", lambda: count)
    assert devices.with_divisible_rows(Batching(row_multiple=8)).row_multiple == rows


def test_a_run_predicts_on_other_devices_than_it_was_trained_on(make_config, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(make_config(training={"maximum_steps": 1})))
    losses(config, tmp_path / "run", 1)
    alone, among_three = (
        subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "predict.py"), str(tmp_path / "run"), "alpha beta", "gamma"],
            env={**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        ).stdout.splitlines()
        for count in (1, 3)
    )
    for one, three in zip(alone, among_three, strict=True):
        assert json.loads(one)["probabilities"] == pytest.approx(json.loads(three)["probabilities"], rel=1e-4)


@pytest.mark.parametrize(
    ("own", "flags"),
    [
        ("", "--xla_gpu_deterministic_ops=true"),
        ("--xla_dump_to=x", "--xla_dump_to=x --xla_gpu_deterministic_ops=true"),
        ("--xla_gpu_deterministic_ops=false", "--xla_gpu_deterministic_ops=false"),
    ],
)
def test_gpus_compute_the_same_bits_unless_the_user_says_otherwise(own, flags, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", own)
    monkeypatch.setattr(devices, "make_cores_devices", lambda: None)  # it is too late for that in this process
    devices.set_up_jax()
    assert os.environ["XLA_FLAGS"].strip() == flags
