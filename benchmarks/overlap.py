"""Does the device wait for the host? A profile of training steps: `python -m benchmarks.overlap [CONFIG]`."""

import gzip
import itertools
import json
import sys
import tempfile
from pathlib import Path

import jax

from transformer.config.errors import run_command
from transformer.config.load import load_config
from transformer.host import make_allocation_cheap
from transformer.training.experiment import Stopwatch, build_experiment
from transformer.training.loop import on_device

STEPS = 60
EXECUTION = "ThunkExecutor::Execute (wait for completion)"
"""What XLA:CPU calls the execution of a whole program in JAX's profile, on the threads of its client."""


def main() -> None:
    """Train as the loop does, its metrics fetched a step late; profile the last steps; print the device's share of the time."""
    config = load_config(sys.argv[1] if len(sys.argv) > 1 else "configs/quickstart.yaml")
    experiment = build_experiment(config, print)
    state = experiment.initial()
    stopwatch = Stopwatch()
    for shape in experiment.batches.shapes:  # what is compiled before the profile cannot be waited for in it
        example = next(
            batch for batch in map(experiment.batches.batch, range(experiment.batches.steps_per_epoch)) if batch["tokens"].shape == shape
        )
        experiment.step.compile(state, experiment.place(example), stopwatch)
    batches = on_device(experiment, 0)
    late = None
    with tempfile.TemporaryDirectory() as directory:
        for group, steps in itertools.groupby(range(2 * STEPS), lambda step: step >= STEPS):
            if group:
                jax.block_until_ready(state)
                jax.profiler.start_trace(directory)
            for _ in steps:
                batch, _ = next(batches)
                state, metrics = experiment.step(state, batch)
                if late is not None:
                    float(late.loss)
                late = metrics
        jax.block_until_ready(state)
        jax.profiler.stop_trace()
        (trace,) = Path(directory).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    spans = sorted((event["ts"], event["ts"] + event["dur"]) for event in events if event.get("name") == EXECUTION)
    busy, end, gaps = 0.0, spans[0][0], []
    for start, stop in spans:
        if start > end:
            gaps.append(start - end)
        busy += max(stop - max(start, end), 0.0)
        end = max(end, stop)
    wall = end - spans[0][0]
    print(f"{len(spans)} programs in {wall / 1e3:.0f} ms: the device was at work for {busy / wall:.2%} of it")
    print(f"it waited {len(gaps)} times, {max(gaps, default=0.0) / 1e3:.2f} ms at the longest")


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
