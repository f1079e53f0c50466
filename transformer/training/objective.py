"""What an objective is; each is a file in `objectives/`."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from transformer.config import schema
from transformer.data.batching import TrainingBatches
from transformer.data.dataset import Dataset, Split

Batch = dict[str, Any]
Parameters = Any
"""The model's parameters: the `nnx.State` that `nnx.split` gives, a pytree of float32 arrays."""
Scores = dict[str, float]
Score = Callable[[np.ndarray, np.ndarray], Scores]
"""(class probabilities, labels) -> figures; at least accuracy, macro_f1 and loss."""


@runtime_checkable
class Evaluator(Protocol):
    """Measures parameters on a split."""

    def compile(self, parameters: Parameters) -> None:
        """Compile now, so that a measurement afterwards holds no compilation."""

    def __call__(self, parameters: Parameters, split: Split) -> Scores:
        """The figures, at least the one that `training.metric` names."""


@runtime_checkable
class Objective(Protocol):
    """What is learned: the batches, the loss, and how the result is measured."""

    def batches(self, config: schema.Config, dataset: Dataset) -> TrainingBatches:
        """The batches of training."""

    def mean_weight(self, batches: TrainingBatches) -> float:
        """The mean, over the batches, of the weight that `loss` returns."""

    def loss(self, model: nnx.Module, batch: Batch, key: Key[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The loss in nats summed over all that is predicted in the batch, and the weight of this sum: how much is predicted there."""

    def evaluator(self, config: schema.Config, dataset: Dataset, graph: nnx.GraphDef[nnx.Module], mesh: Mesh, score: Score) -> Evaluator:
        """What measures this objective's models; `score` is for class probabilities."""


def model_inputs(batch: Batch) -> dict[str, Any]:
    """The entries of a batch that a model reads."""
    return {name: batch[name] for name in ("tokens", "segments", "positions", "types") if name in batch}
