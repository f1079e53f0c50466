"""How long a person waits for the first training step."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.rounds import ROOT

CONFIG = "configs/quickstart.yaml"
# The first step's line in metrics.jsonl is then written as soon as the step is done.
OVERRIDES = ["training.maximum_steps=1", "training.log_every=1", "schedule.warmup_steps=0"]


def measure_first_step(python: str, runs: int) -> dict[str, object]:
    """Seconds from the command to the end of the first training step: with no compiled programs in the cache, then `runs` times with them.

    The data is there already: a run that is not timed comes first.
    """
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(Path(scratch) / "compiled")}
        subprocess.run([*_command(python), "--dry-run"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        cold, *warm = [_seconds(python, Path(scratch) / f"run{number}", environment) for number in range(runs + 1)]
    return {"command": " ".join(_command("python")), "cold_seconds": cold, "warm_seconds": warm}


def _command(python: str) -> list[str]:
    return [python, "train.py", CONFIG, *OVERRIDES]


def _seconds(python: str, directory: Path, environment: dict[str, str]) -> float:
    metrics = directory / "metrics.jsonl"
    started = time.perf_counter()
    process = subprocess.Popen([*_command(python), "--run-dir", str(directory)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    while not (metrics.exists() and metrics.stat().st_size):
        if process.poll() is not None:
            raise subprocess.CalledProcessError(process.returncode, _command(python))
        time.sleep(0.01)
    seconds = time.perf_counter() - started
    # To its end, so that all it compiled is in the cache.
    process.wait()
    return seconds
