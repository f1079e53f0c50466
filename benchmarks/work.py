"""What every competitor has to do: train on the same batches, with the same settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CLASSES = 20
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.01


@dataclass
class Batch:
    """Texts padded to one length."""

    tokens: np.ndarray
    """int32 [batch, length], 0 where `mask` is false."""
    mask: np.ndarray
    """bool [batch, length], true at real tokens; a row without any is filler."""
    labels: np.ndarray
    """int32 [batch]."""


@dataclass
class Competitor:
    """Training on some batches, ready to run. A step is forward, backward and AdamW on all parameters; a pass is a step on each batch."""

    run: Callable[[int], float]
    """Make that many passes, wait until the device is done, and give the last loss."""
    parameters: int
    """Number of trained parameters."""
    batches: list[Batch]

    def facts(self) -> dict[str, int]:
        """What a pass holds."""
        return {
            "parameters": self.parameters,
            "steps": len(self.batches),
            "real_tokens": sum(int(batch.mask.sum()) for batch in self.batches),
            "computed_tokens": sum(batch.mask.size for batch in self.batches),
        }


def load_batches(work: dict[str, Any]) -> list[Batch]:
    """The batches of `{"file": path}`, written by `save_batches`, or one of random tokens: `{"batch", "length", "vocabulary"}`."""
    if "file" not in work:
        return [random_batch(**work)]
    with np.load(work["file"]) as arrays:
        return [Batch(*(arrays[f"{name}_{index}"] for name in ("tokens", "mask", "labels"))) for index in range(len(arrays.files) // 3)]


def save_batches(path: str, batches: list[Batch]) -> None:
    """Write batches to one NumPy archive."""
    np.savez(path, **{f"{name}_{index}": array for index, batch in enumerate(batches) for name, array in vars(batch).items()})


def random_batch(batch: int, length: int, vocabulary: int) -> Batch:
    """The same batch at every call: texts of half to full length, so that each competitor has to mask padding."""
    random = np.random.default_rng(0)
    lengths = random.integers(length // 2, length + 1, batch)
    lengths[0] = length
    mask = np.arange(length) < lengths[:, None]
    tokens = np.where(mask, random.integers(5, vocabulary, (batch, length)), 0).astype(np.int32)
    return Batch(tokens, mask, random.integers(0, CLASSES, batch).astype(np.int32))
