"""What every competitor has to do."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CLASSES = 8
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.01


@dataclass
class Competitor:
    """A training step (forward, backward, AdamW on all parameters), ready to run."""

    run: Callable[[int], float]
    """Run that many steps, wait until the device is done, and give the last loss."""
    parameters: int
    """Number of trained parameters."""
    tokens: int
    """Real tokens that one step trains on."""


@dataclass
class Batch:
    """Texts padded to one length."""

    tokens: np.ndarray
    """int32 [batch, length], 0 where `mask` is false."""
    mask: np.ndarray
    """bool [batch, length], true at real tokens."""
    labels: np.ndarray
    """int32 [batch]."""


def random_batch(batch: int, length: int, vocabulary: int) -> Batch:
    """The same batch for every competitor: texts of half to full length, so that each has to mask padding."""
    random = np.random.default_rng(0)
    lengths = random.integers(length // 2, length + 1, batch)
    lengths[0] = length
    mask = np.arange(length) < lengths[:, None]
    tokens = np.where(mask, random.integers(5, vocabulary, (batch, length)), 0).astype(np.int32)
    return Batch(tokens, mask, random.integers(0, CLASSES, batch).astype(np.int32))
