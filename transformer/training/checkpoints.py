"""Checkpoints, by Orbax; the one module that knows it.

A checkpoint is a directory named after its step. Its item `parameters` holds the parameters that are evaluated (the moving average where
there is one), and `training` the rest of what resuming needs. A save is written beside and renamed when complete, so a kill leaves the
last one whole.
"""

import contextlib
import dataclasses
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as orbax

from transformer.config.errors import RunError, UsageError
from transformer.training.objective import Parameters
from transformer.training.step import TrainState

# Each of Orbax's threads logs the traceback of a failed save, on a full disk dozens; `_writable` tells it once.
logging.getLogger("absl").setLevel(logging.CRITICAL)


ROOM_BESIDE_ARRAYS = 2**20
"""Bytes for a checkpoint's own files and for what a run writes until the next."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """What the loop has to remember beside the state."""

    step: int = 0
    best_step: int | None = None
    best_metric: float | None = None
    failed_evaluations: int = 0
    """Evaluations in a row that did not improve on the best."""
    stopped_early: bool = False
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _BestAndLatest(orbax.training.preservation_policies.PreservationPolicy):  # type: ignore[misc]  # Orbax has no types
    latest: int
    best_step: int | None = None

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        newest = len(checkpoints) - self.latest
        return [index >= newest or checkpoint.step == self.best_step for index, checkpoint in enumerate(checkpoints)]


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None)), tree)


def _training_item(state: TrainState) -> dict[str, Any]:
    item = {"step": state.step, "optimizer": state.optimizer}
    return item if state.average is None else {**item, "parameters": state.parameters}


class Checkpoints:
    """The checkpoints of one run: the best and the latest are kept."""

    def __init__(self, directory: Path, keep_latest: int) -> None:
        self._policy = _BestAndLatest(keep_latest)
        self._checkpointer = orbax.training.Checkpointer(
            directory.absolute(),
            preservation_policy=self._policy,
            # The loop decides when to save.
            save_decision_policy=orbax.training.save_decision_policies.FixedIntervalPolicy(1),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._checkpointer.close()

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        latest = self._checkpointer.latest
        return None if latest is None else int(latest.step)

    def save(self, state: TrainState, progress: Progress) -> None:
        """Start to save; returns once the arrays are copied, and the writing goes on beside the training.

        Raises:
            RunError: an earlier save or this one could not be written.
        """
        self._policy.best_step = progress.best_step
        # The step donates its state, so the writer gets arrays of its own.
        state = jax.tree.map(jnp.copy, state)
        with _writable(self._checkpointer.directory):
            self.wait()
            _check_room(Path(self._checkpointer.directory), state)
            self._checkpointer.save_checkpointables_async(
                progress.step,
                {"parameters": state.evaluated, "training": _training_item(state)},
                custom_metadata=dataclasses.asdict(progress),
            )

    def restore(self, like: TrainState) -> tuple[TrainState, Progress]:
        """The newest checkpoint, each array placed as in `like`.

        Raises:
            UsageError: it is damaged.
        """
        step = self.latest_step
        remedy = "remove it, and the same command goes on from the checkpoint before it, or from the start"
        with _readable(Path(self._checkpointer.directory) / str(step), remedy):
            items = self._checkpointer.load_checkpointables(
                step, {"parameters": _abstract(like.evaluated), "training": _abstract(_training_item(like))}
            )
            metadata: Any = self._checkpointer.metadata(step).custom_metadata
        training = items["training"]
        averaged = like.average is not None
        state = TrainState(
            step=training["step"],
            parameters=training["parameters"] if averaged else items["parameters"],
            optimizer=training["optimizer"],
            average=items["parameters"] if averaged else None,
        )
        return state, Progress(**metadata)

    def wait(self) -> None:
        """Wait until the save under way is complete.

        Raises:
            RunError: it could not be written.
        """
        with _writable(self._checkpointer.directory):
            self._checkpointer.wait()


def load_parameters(directory: Path, step: int, like: Parameters) -> Parameters:
    """The evaluated parameters of the checkpoint of `step`, each array shaped and placed as in `like`.

    Raises:
        UsageError: it is missing or damaged.
    """
    checkpoint = directory.absolute() / str(step)
    with _readable(checkpoint, "put a whole copy back, or train again with another --run-dir"):
        loaded: Parameters = orbax.load_checkpointables(checkpoint, {"parameters": _abstract(like)})["parameters"]
    return loaded


@contextlib.contextmanager
def _readable(checkpoint: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Orbax has one for each way to be damaged, and prints all that it knows
        reason = str(error).strip().partition("\n")[0][:200]
        raise UsageError(f"the checkpoint {checkpoint} cannot be read; {remedy}\n{reason}") from error


def _check_room(directory: Path, state: TrainState) -> None:
    # Told before Orbax starts to write: where a write fails, its threads print a page of tracebacks each.
    needed, free = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + ROOM_BESIDE_ARRAYS, shutil.disk_usage(directory).free
    if free < needed:
        room = f"it needs {needed / 2**20:,.1f} MiB, and {free / 2**20:,.1f} MiB are free"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {room}")


@contextlib.contextmanager
def _writable(directory: Any) -> Iterator[None]:
    try:
        yield
    except RunError:  # of an earlier save, for which this one waited
        raise
    except Exception as error:
        raise RunError(
            f"a checkpoint could not be written to {directory}: {getattr(error, 'strerror', None) or error}\n"
            "The last complete checkpoint is kept. Make room there, then run the same command again: it resumes."
        ) from error
