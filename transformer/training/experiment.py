"""Everything that a config makes before the first step: data, batches, model, optimizer, compiled steps."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.data.batching import Batch, TrainingBatches
from transformer.data.dataset import Dataset, load_dataset
from transformer.data.tokenization import Split
from transformer.training.devices import data_mesh, replicate, split_rows
from transformer.training.initialization import initialize
from transformer.training.learning_rates import is_frozen, learning_rate_shares
from transformer.training.models import initial_model
from transformer.training.objective import DeviceBatch, Evaluator
from transformer.training.objectives import build_objective
from transformer.training.optimizer import build_optimizer, learning_rate_schedule
from transformer.training.step import StepMetrics, TrainState, Variation, initial_state, make_train_step

LAST_STEP = 2**31 - 1


class Stopwatch:
    """Seconds spent on each kind of work, those of a run's earlier processes included."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._start = time.monotonic()

    @property
    def seconds(self) -> dict[str, float]:
        """Each kind's, and their `total` since the start, whether measured or not."""
        return {**self._seconds, "total": self._seconds.get("total", 0.0) + time.monotonic() - self._start}

    def go_on(self, earlier: dict[str, float]) -> None:
        """Add what an earlier process spent."""
        self._seconds = {kind: earlier.get(kind, 0.0) + self._seconds.get(kind, 0.0) for kind in {**earlier, **self._seconds}}

    @contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        """Add the time inside to `kind`."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._seconds[kind] = self._seconds.get(kind, 0.0) + time.monotonic() - start


class CompiledStep:
    """The training step of one run, compiled once for each shape of batch; the state is donated."""

    def __init__(
        self, step: Callable[[TrainState, DeviceBatch, Variation], tuple[TrainState, StepMetrics]], variation: Variation, mesh: Mesh
    ) -> None:
        self._step = jax.jit(step, donate_argnums=0, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._variation, self._mesh = replicate(variation, mesh), mesh
        self.executables: dict[tuple[int, ...], jax.stages.Compiled] = {}

    def compile(self, state: TrainState, batch: DeviceBatch, stopwatch: Stopwatch) -> jax.stages.Compiled:
        """The compiled program for batches shaped like this one; what compiling takes is added to `stopwatch`."""
        shape = tuple(batch["tokens"].shape)
        if shape not in self.executables:
            with stopwatch.measure("compile"), jax.set_mesh(self._mesh):
                self.executables[shape] = self._step.lower(state, batch, self._variation).compile()
        return self.executables[shape]

    def __call__(self, state: TrainState, batch: DeviceBatch) -> tuple[TrainState, StepMetrics]:
        """Run the program that `compile` made for such batches."""
        result: tuple[TrainState, StepMetrics] = self.executables[tuple(batch["tokens"].shape)](state, batch, self._variation)
        return result


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a config describes, built."""

    config: schema.Config
    dataset: Dataset
    batches: TrainingBatches
    steps: int
    """Steps of the whole run."""
    evaluate_every: int
    checkpoint_every: int
    learning_rate: Callable[[int], Any]
    """That of a step, counted from 0."""
    initial: Callable[[], TrainState]
    """Makes the state before the first step."""
    step: CompiledStep
    evaluator: Evaluator
    mesh: Mesh

    @property
    def measured(self) -> dict[str, Split]:
        """The splits that are measured, by name: validation, and test unless the config says otherwise, where there are such."""
        names = ("validation", "test") if self.config.training.evaluate_test else ("validation",)
        return {name: split for name, split in self.dataset.splits.items() if name in names}

    def place(self, batch: Batch) -> DeviceBatch:
        """Put a batch on the devices."""
        placed: DeviceBatch = split_rows(batch, self.mesh)
        return placed


def build_experiment(config: schema.Config, tell: Callable[[str], None]) -> Experiment:
    """Load the data and build everything else; `tell` is told what takes long.

    Raises:
        UsageError: the config does not fit the data or the devices.
    """
    mesh = data_mesh(config.batching.row_multiple, config.training.accumulation, stepped=config.model.stepped)
    dataset = load_dataset(config, tell)
    if dataset.validation is None and config.training.early_stopping is not None:
        raise UsageError("training.early_stopping needs validation rows; set data.validation_fraction=0.1 or name validation files")
    if isinstance(config.objective, schema.Contrastive) and config.training.accumulation > 1:
        raise UsageError(
            f"with training.accumulation {config.training.accumulation}, objective.kind=contrastive would tell each text from those of its "
            "piece of the batch only; set training.accumulation=1, and a smaller batching.tokens where memory is short"
        )
    objective = build_objective(config.objective, dataset)
    batches = objective.batches(config, dataset)
    steps = total_steps(config.training, batches.steps_per_epoch)
    if config.schedule.warmup_steps >= steps > 1:
        raise UsageError(
            f"schedule.warmup_steps {config.schedule.warmup_steps} is not below the run's {steps} steps; "
            f"set schedule.warmup_steps={steps // 10} or more training.epochs"
        )
    graph, parameters = initial_model(config, dataset.tokenizer, dataset.labels)
    parameters = initialize(config, parameters, tell)
    rate = learning_rate_schedule(config.schedule, steps)
    shares = learning_rate_shares(config, parameters)
    if all(map(is_frozen, jax.tree.leaves(shares))):
        raise UsageError("no parameter is left to learn: model.frozen_layers keeps all there are; set it lower, or leave it out")
    optimizer = build_optimizer(config, rate, shares)
    train_step = make_train_step(
        graph,
        objective,
        optimizer,
        mean_weight=objective.mean_weight(batches),
        shares=shares,
        accumulation=config.training.accumulation,
        average_decay=config.training.average_decay,
    )
    peak = config.optimizer.learning_rate
    averaged = config.training.average_decay > 0
    make_state = jax.jit(lambda parameters: initial_state(parameters, optimizer, averaged))
    evaluate_every = config.training.evaluate_every or batches.steps_per_epoch
    return Experiment(
        config=config,
        dataset=dataset,
        batches=batches,
        steps=steps,
        evaluate_every=evaluate_every,
        checkpoint_every=config.training.checkpoint_every or evaluate_every,
        learning_rate=lambda step: peak * rate(step),
        initial=lambda: replicate(make_state(parameters), mesh),
        step=CompiledStep(train_step, Variation(jax.random.key(config.seed), jnp.float32(peak)), mesh),
        evaluator=objective.evaluator(config, dataset, batches.shapes, graph, mesh),
        mesh=mesh,
    )


def total_steps(training: schema.Training, steps_per_epoch: int) -> int:
    """Steps of a whole run: the last may be in the middle of an epoch.

    Raises UsageError for more than the state's step, an int32, can count.
    """
    # The decimal that the person wrote: in binary, 1.1 epochs of 10 steps are a little more than 11.
    steps = math.ceil(Fraction(str(training.epochs)) * steps_per_epoch)
    steps = min(steps, training.maximum_steps or steps)
    if steps > LAST_STEP:
        raise UsageError(
            f"training.epochs {training.epochs} makes more steps than a run can count; set training.maximum_steps={LAST_STEP}, or fewer "
            "training.epochs"
        )
    return steps
