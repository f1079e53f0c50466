"""What a run says while it runs: to a person, to metrics.jsonl, to TensorBoard, and to Weights & Biases where asked."""

import contextlib
import hashlib
import json
import re
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from transformer.config import schema
from transformer.config.errors import RunError, UsageError

SECONDS_BETWEEN_LINES = 10.0
"""How often training is reported where the output is no terminal."""


class MetricsFile:
    """metrics.jsonl: appended, never rewritten.

    A run that was killed repeats the steps since its last checkpoint, with the same figures; their lines are not written a second time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: set[tuple[int, str]] = set()
        if path.exists():
            whole = path.read_bytes()
            # A kill can leave half a line at the end.
            complete = whole[: whole.rfind(b"\n") + 1]
            if len(complete) < len(whole):
                with path.open("r+b") as file:
                    file.truncate(len(complete))
            for line in complete.splitlines():
                entry = json.loads(line)
                self._written.add((entry["step"], entry["split"]))

    def append(self, step: int, split: str, figures: dict[str, Any]) -> None:
        """Append a line unless this step's line for this split is there."""
        if (step, split) in self._written:
            return
        self._written.add((step, split))
        line = json.dumps({"step": step, "split": split, **figures}) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise RunError(
                f"{self._path} could not be written: {error.strerror}; make room, then run the same command again: it resumes"
            ) from error


class Logger:
    """Reports a run's figures everywhere they belong."""

    def __init__(self, directory: Path, config: schema.Config, *, first_step: int, steps: int) -> None:
        self._file = MetricsFile(directory / "metrics.jsonl")
        self._tensorboard = SummaryWriter(str(directory / "tensorboard"), purge_step=first_step + 1)
        self._wandb = _start_wandb(config, directory) if config.training.wandb_project else None
        self._console = Console(markup=False, emoji=False)
        self._steps = steps
        self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]} real tokens/s"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("compiling", total=steps, completed=first_step, loss="–", speed="–")
        self._started = time.monotonic()
        self._first_step = first_step

    def __enter__(self) -> "Logger":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._bar.stop()
        # Its curves are a copy: on a full disk the error that is already on its way says more.
        with contextlib.suppress(OSError):
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()

    def say(self, line: str) -> None:
        """A line for the person."""
        self._console.print(line, highlight=False, soft_wrap=True)
        sys.stdout.flush()

    def training(self, step: int, figures: dict[str, float], speed: float) -> None:
        """Figures of a training step; `speed` in real tokens a second."""
        self._file.append(step, "train", figures)
        self._elsewhere(step, "train", {**figures, "real_tokens_per_second": speed})
        self.progress(step, figures["loss"], speed)

    def progress(self, step: int, loss: float, speed: float) -> None:
        """Show how far the run is."""
        self._bar.update(self._task, description="training", completed=step, loss=f"{loss:.3f}", speed=f"{speed:,.0f}")
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = (self._steps - step) * (now - self._started) / max(step - self._first_step, 1)
            self.say(f"step {step}/{self._steps}  loss {loss:.3f}  {speed:,.0f} real tokens/s  {_minutes(left)} left")

    def evaluation(self, step: int, split: str, figures: dict[str, float], seconds: dict[str, float], best: bool = False) -> None:
        """Figures of an evaluation, and the seconds spent so far, which metrics.jsonl keeps beside them."""
        self._file.append(step, split, {**figures, "seconds": {kind: round(value, 3) for kind, value in seconds.items()}})
        self._elsewhere(step, split, figures)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self.say(f"step {step}/{self._steps}  {split}  {shown}{'  best so far' if best else ''}")

    def _elsewhere(self, step: int, split: str, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self._tensorboard.add_scalar(f"{split}/{name}", value, step)
        if self._wandb is not None:
            self._wandb.log({f"{split}/{name}": value for name, value in figures.items()}, step=step)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def import_wandb() -> Any:
    """The package of Weights & Biases. Raises UsageError where it is not installed."""
    try:
        import wandb
    except ImportError as error:
        raise UsageError("training.wandb_project is set, but wandb is not installed; type: .venv/bin/pip install wandb") from error
    return wandb


def _start_wandb(config: schema.Config, directory: Path) -> Any:
    # The run directory is the identity there, as it is here: a resumed run goes on with the same curves, and another seed of the same
    # config has its own.
    path = directory.resolve()
    digest = hashlib.sha256(bytes(path)).hexdigest()[:8]
    wandb = import_wandb()
    try:
        return wandb.init(
            project=config.training.wandb_project,
            id=re.sub(r"[/\\#?%:]", "-", f"{path.name}-{digest}"),  # characters that it refuses
            name=config.name,
            resume="allow",
            dir=directory,
            config=config.model_dump(mode="json"),
        )
    except wandb.Error as error:  # no network, no login, no such project
        raise RunError(
            f"Weights & Biases did not start: {error}; type .venv/bin/wandb login, set WANDB_MODE=offline, or leave "
            "training.wandb_project out; then run the same command again"
        ) from error
