"""What an objective is; each is a file in `objectives/`."""

import abc
from collections.abc import Collection
from typing import Any, Protocol, runtime_checkable

import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from transformer.config import schema
from transformer.data.batching import Shapes, TrainingBatches, batch_shapes
from transformer.data.dataset import Dataset
from transformer.data.tokenization import Split

DeviceBatch = dict[str, Any]
"""A batch of `data/batching.py` on the devices, its rows split among them."""
Parameters = Any
"""The model's parameters: the `nnx.State` that `nnx.split` gives, a pytree of float32 arrays."""
Scores = dict[str, float]


@runtime_checkable
class Evaluator(Protocol):
    """Measures parameters on a split."""

    def compile(self, parameters: Parameters, splits: Collection[Split]) -> None:
        """Compile now, so that measuring these splits afterwards holds no compilation."""

    def __call__(self, parameters: Parameters, split: Split) -> Scores:
        """The figures, at least the one that `training.metric` names."""


class Objective(abc.ABC):
    """What is learned: the batches, the loss, and how the result is measured."""

    def batches(self, config: schema.Config, dataset: Dataset) -> TrainingBatches:
        """The batches of training; if nothing else is said, texts of about the same length together."""
        shapes = batch_shapes(dataset.train.lengths, config.batching, config.data.maximum_length)
        return TrainingBatches(dataset.train, dataset.special, shapes, config.seed)

    def mean_weight(self, batches: TrainingBatches) -> float:
        """The mean, over the batches, of the weight that `loss` returns; if nothing else is said, the examples of a batch."""
        return batches.mean_examples

    @abc.abstractmethod
    def loss(self, model: nnx.Module, batch: DeviceBatch, key: Key[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The loss in nats summed over all that is predicted in the batch, and the weight of this sum: how much is predicted there."""

    @abc.abstractmethod
    def evaluator(self, config: schema.Config, dataset: Dataset, shapes: Shapes, graph: nnx.GraphDef[nnx.Module], mesh: Mesh) -> Evaluator:
        """What measures this objective's models in batches of the training's shapes; compiles nothing yet."""


def model_inputs(batch: dict[str, Any]) -> dict[str, Any]:
    """The entries of a batch that a model reads."""
    return {name: batch[name] for name in ("tokens", "segments", "positions", "types") if name in batch}


def empty_inputs(rows: int, length: int, *, pairs: bool) -> dict[str, np.ndarray]:
    """What a model reads of a batch of padding: all that compiling needs."""
    names = ["tokens", "segments", "positions", *(["types"] if pairs else [])]
    return dict.fromkeys(names, np.zeros((rows, length), np.int32))
