"""The training loop."""

import dataclasses
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import jax
import numpy as np

from transformer.config import schema
from transformer.config.errors import RunError
from transformer.config.load import load_config
from transformer.files import write_whole
from transformer.training.checkpoints import Checkpoints, Progress, load_parameters
from transformer.training.devices import peak_memory
from transformer.training.experiment import Experiment, Stopwatch, build_experiment
from transformer.training.initialization import complete_as_stored, complete_config, without_start_weights
from transformer.training.logging import Logger, import_wandb
from transformer.training.models import count_parameters
from transformer.training.objective import DeviceBatch, Scores
from transformer.training.run_directory import Resume, check_directory, has_begun, read_stored, run_directory, with_own_tokenizer
from transformer.training.step import StepMetrics, TrainState


class StopSignals:
    """Notes SIGTERM and SIGINT, so that the loop can save and leave; a second one interrupts at once."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "StopSignals":
        self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class LateMetrics:
    """Fetches a step's metrics after the next step is dispatched, so that the device never waits for the host.

    Raises RunError when a loss or a gradient is not finite.
    """

    def __init__(self, experiment: Experiment, logger: Logger, stopwatch: Stopwatch) -> None:
        self._experiment, self._logger, self._stopwatch = experiment, logger, stopwatch
        self._pending: tuple[int, StepMetrics, tuple[int, ...]] | None = None
        self._tokens, self._since = 0, self._stepping()

    def push(self, step: int, metrics: StepMetrics, shape: tuple[int, ...], real_tokens: int) -> None:
        """Take the metrics of the step just dispatched; read those of the one before."""
        self.flush()
        self._pending = (step, metrics, shape)
        self._tokens += real_tokens

    def flush(self) -> None:
        """Read what is pending."""
        if self._pending is None:
            return
        step, metrics, shape = self._pending
        self._pending = None
        figures = {name: float(value) for name, value in dataclasses.asdict(jax.device_get(metrics)).items()}
        figures["learning_rate"] = float(self._experiment.learning_rate(step - 1))
        if not np.isfinite([figures["loss"], figures["gradient_norm"]]).all():
            epoch, index = divmod(step - 1, self._experiment.batches.steps_per_epoch)
            raise RunError(
                f"the loss or its gradient is not finite at step {step}: loss {figures['loss']}, gradient norm {figures['gradient_norm']}, "
                f"learning rate {figures['learning_rate']:.3g}, batch {index + 1} of epoch {epoch + 1} "
                f"({shape[0]} rows of {shape[1]} tokens)\n"
                f"The last good checkpoint is kept. Try a lower rate, such as optimizer.learning_rate="
                f"{self._experiment.config.optimizer.learning_rate / 3:.1g}, or more schedule.warmup_steps, in another --run-dir."
            )
        if step % self._experiment.config.training.log_every == 0:
            speed = self._tokens / max(self._stepping() - self._since, 1e-9)
            self._tokens, self._since = 0, self._stepping()
            self._logger.training(step, figures, speed)

    def _stepping(self) -> float:
        """Seconds on a clock that stands still while something else than steps is done."""
        return time.monotonic() - sum(self._stopwatch.seconds.get(kind, 0.0) for kind in ("compile", "evaluate", "save"))


def train(config: schema.Config, directory: Path, *, resume: Resume = "auto") -> dict[str, Any] | None:
    """Train what the config describes, or go on where an earlier call was stopped; leave everything in `directory`.

    Returns:
        The summary of the finished run, or None when a signal stopped it and a checkpoint was saved.

    Raises:
        UsageError: the config, the data or the directory do not fit; nothing was written.
        RunError: the loss is not finite, or the disk is full; the last good checkpoint is kept.
    """
    begun = has_begun(directory)
    # What has begun needs the weights that it started from no longer: others may lie there by now, or none.
    config = complete_as_stored(config, load_config(directory / "config.yaml")) if begun else complete_config(config, _say)
    check_directory(directory, config, resume)
    summary_file = directory / "summary.json"
    if summary_file.exists():
        finished: dict[str, Any] = read_stored(summary_file)
        _say(f"{directory} holds this training, finished: nothing is trained, and these are its figures")
        return finished
    if config.training.wandb_project:
        import_wandb()  # where it is missing, that is told before anything is written
    stopwatch = Stopwatch()
    with stopwatch.measure("data"):
        own = with_own_tokenizer(directory, config)
        experiment = build_experiment(without_start_weights(own) if begun else own, _say)
    state = experiment.initial()
    parameters = count_parameters(state.parameters)
    with (
        run_directory(directory, config, experiment.dataset) as changes,
        StopSignals() as stop,
        Checkpoints(directory / "checkpoints", config.training.keep_latest) as checkpoints,
    ):
        progress = Progress()
        if checkpoints.latest_step is not None:
            state, progress = checkpoints.restore(state)
        stopwatch.go_on(progress.seconds)
        with Logger(directory, config, first_step=progress.step, steps=experiment.steps) as logger:
            _announce(experiment, parameters, progress, changes, logger)
            state, progress = _Loop(experiment, checkpoints, logger, stopwatch, stop).run(state, progress)
            if progress.step < experiment.steps and not progress.stopped_early:
                return None
            best_step = progress.best_step or progress.step
            best = load_parameters(directory / "checkpoints", best_step, state.evaluated)
            with stopwatch.measure("compile"):
                experiment.evaluator.compile(best, experiment.measured.values())
            with stopwatch.measure("evaluate"):
                scores = {name: experiment.evaluator(best, split) for name, split in experiment.measured.items()}
            if "test" in scores:
                logger.evaluation(best_step, "test", scores["test"], stopwatch.seconds)
        summary = _summary(experiment, parameters, progress.step, best_step, scores, stopwatch)
        write_whole(summary_file, json.dumps(summary, indent=1))
        return summary


def _summary(
    experiment: Experiment, parameters: dict[str, int], steps: int, best_step: int, scores: dict[str, Scores], stopwatch: Stopwatch
) -> dict[str, Any]:
    """The content of summary.json."""
    real, computed = experiment.batches.tokens(steps)
    return {
        "best_step": best_step,
        "steps": steps,
        "validation": scores.get("validation"),
        "test": scores.get("test"),
        "parameters": parameters,
        "tokens": {"real": real, "computed": computed},
        "examples": {name: len(split) for name, split in experiment.dataset.splits.items()},
        "test_rows_in_train": experiment.dataset.test_rows_in_train,
        "seconds": {name: round(seconds, 3) for name, seconds in stopwatch.seconds.items()},
        "peak_bytes": peak_memory(),
    }


@dataclasses.dataclass(frozen=True)
class _Loop:
    experiment: Experiment
    checkpoints: Checkpoints
    logger: Logger
    stopwatch: Stopwatch
    stop: StopSignals

    def run(self, state: TrainState, progress: Progress) -> tuple[TrainState, Progress]:
        """Steps until the last one, an early stop or a signal."""
        experiment, stopwatch = self.experiment, self.stopwatch
        if progress.step >= experiment.steps or progress.stopped_early:
            return state, progress
        late = LateMetrics(experiment, self.logger, stopwatch)
        batches = on_device(experiment, progress.step)
        for step in range(progress.step + 1, experiment.steps + 1):
            with stopwatch.measure("wait"):
                batch, real_tokens = next(batches)
            experiment.step.compile(state, batch, stopwatch)
            with stopwatch.measure("train"):
                with jax.transfer_guard("disallow"):
                    state, metrics = experiment.step(state, batch)
                late.push(step, metrics, batch["tokens"].shape, real_tokens)
            progress = dataclasses.replace(progress, step=step)
            last = step == experiment.steps
            if last or step % experiment.evaluate_every == 0:
                with stopwatch.measure("train"):
                    late.flush()
                progress = self._evaluate(state, progress)
            leaving = last or progress.stopped_early or self.stop.requested
            if leaving or step % experiment.checkpoint_every == 0 or progress.best_step == step:
                with stopwatch.measure("train"):
                    late.flush()
                with stopwatch.measure("save"):
                    self.checkpoints.save(state, dataclasses.replace(progress, seconds=stopwatch.seconds))
            if leaving:
                break
        self.checkpoints.wait()
        return state, progress

    def _evaluate(self, state: TrainState, progress: Progress) -> Progress:
        validation, training = self.experiment.dataset.validation, self.experiment.config.training
        if validation is None:
            return progress
        with self.stopwatch.measure("compile"):
            self.experiment.evaluator.compile(state.evaluated, [validation])
        with self.stopwatch.measure("evaluate"):
            scores = self.experiment.evaluator(state.evaluated, validation)
        progress = _judge(progress, scores, training)
        self.logger.evaluation(progress.step, "validation", scores, self.stopwatch.seconds, best=progress.best_step == progress.step)
        if progress.stopped_early:
            self.logger.say(f"stopped early: {progress.failed_evaluations} evaluations without a better {training.metric}")
        return progress


def _judge(progress: Progress, scores: Scores, training: schema.Training) -> Progress:
    metric = scores[training.metric]
    value = -metric if training.metric == "loss" else metric
    if progress.best_metric is None or value > progress.best_metric:
        return dataclasses.replace(progress, best_metric=value, best_step=progress.step, failed_evaluations=0)
    failed = progress.failed_evaluations + 1
    stopping = training.early_stopping
    return dataclasses.replace(progress, failed_evaluations=failed, stopped_early=stopping is not None and failed >= stopping.patience)


def on_device(experiment: Experiment, start: int) -> Iterator[tuple[DeviceBatch, int]]:
    """Batches on the devices, each put there while the step before it runs, with their number of real tokens."""
    waiting: tuple[DeviceBatch, int] | None = None
    for batch in experiment.batches.iterate(start, experiment.steps):
        placed = experiment.place(batch), int(np.count_nonzero(batch["segments"]))
        if waiting is not None:
            yield waiting
        waiting = placed
    if waiting is not None:
        yield waiting


def _say(line: str) -> None:
    print(line, flush=True)


def _announce(experiment: Experiment, parameters: dict[str, int], progress: Progress, changes: list[str], logger: Logger) -> None:
    data = experiment.dataset
    for note in data.notes:
        logger.say(note)
    sizes = [f"{len(split):,} {name}" for name, split in data.splits.items()]
    labels = f", {len(data.labels)} labels" if data.labels else ""
    logger.say(f"{' / '.join(sizes)} texts{labels}, {parameters['total']:,} parameters")
    if progress.step:
        logger.say(f"resuming at step {progress.step} of {experiment.steps}")
        if changes:
            logger.say(f"changed since: {', '.join(changes)}; the last bits can differ from those of a training that was never stopped")
