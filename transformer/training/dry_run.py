"""What a training will take, told before it starts."""

import collections
import math
import sys
import time

import jax
from rich.console import Console
from rich.table import Table

from transformer.config import schema
from transformer.training.devices import program_bytes
from transformer.training.experiment import Stopwatch, build_experiment
from transformer.training.initialization import complete_config
from transformer.training.models import count_parameters

TIMED_STEPS = 3


def dry_run(config: schema.Config) -> None:
    """Load data and model, compile and time the step for each shape of batch, and print the figures; writes no run."""
    # A pipe has no width, and Rich would take 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False, emoji=False)
    stopwatch = Stopwatch()
    config = complete_config(config, console.print)
    experiment = build_experiment(config, console.print)
    batches, devices = experiment.batches, experiment.mesh.size
    state = experiment.initial()
    parameters = count_parameters(state.parameters)

    epoch = range(batches.steps_per_epoch)
    examples = {tuple(batch["tokens"].shape): batch for batch in map(batches.batch, epoch)}
    counts = collections.Counter(tuple(batches.batch(step)["tokens"].shape) for step in epoch)
    table = Table("rows x tokens", "rows a device", "batches an epoch", "memory a device", "operations a device", "seconds a step")
    seconds = {}
    memory_needed = 0.0
    for shape in sorted(counts, key=lambda shape: shape[1]):
        batch = experiment.place(examples[shape])
        program = experiment.step.compile(state, batch, stopwatch)
        state, metrics = experiment.step(state, batch)
        jax.block_until_ready(metrics)
        start = time.perf_counter()
        for _ in range(TIMED_STEPS):
            state, metrics = experiment.step(state, batch)
        jax.block_until_ready(metrics)
        seconds[shape] = (time.perf_counter() - start) / TIMED_STEPS
        needed = program_bytes(program) or math.nan
        memory_needed = max(memory_needed, needed)
        operations = (program.cost_analysis() or {}).get("flops", math.nan)
        rows, length = shape
        table.add_row(
            f"{rows} x {length}",
            str(rows // devices),
            str(counts[shape]),
            f"{needed / 2**20:,.0f} MiB",
            f"{operations / 1e9:,.2f} G",
            f"{seconds[shape]:.4f}",
        )
    real, computed = batches.tokens(batches.steps_per_epoch)
    step_seconds = sum(seconds[shape] * count for shape, count in counts.items()) / batches.steps_per_epoch

    figures = Table.grid(padding=(0, 2))
    figures.add_row("parameters", f"{parameters['total']:,}, without embeddings {parameters['without_embeddings']:,}")
    figures.add_row("batches an epoch", f"{batches.steps_per_epoch:,}; {experiment.steps:,} steps in all")
    figures.add_row("global batch", f"{config.batching.tokens:,} tokens, {batches.mean_examples:.1f} texts on average")
    figures.add_row("a device's batch", f"{config.batching.tokens // devices:,} tokens on each of {devices}")
    figures.add_row("padding", f"{1 - real / computed:.1%} of the tokens")
    figures.add_row("memory of the step", f"{memory_needed / 2**20:,.0f} MiB at most on each of {devices}")
    figures.add_row("compilation", f"{stopwatch.seconds['compile']:.1f} s")
    figures.add_row("estimated training", f"{step_seconds * experiment.steps:,.0f} s, without compilation and evaluation")
    for note in experiment.dataset.notes:
        console.print(note)
    console.print(table)
    console.print(figures)
