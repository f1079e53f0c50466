"""What a model computes for every example of a split, in the split's order."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from transformer.data.batching import EvaluationBatches, Shapes
from transformer.data.tokenization import SpecialTokens, Split
from transformer.training.devices import split_rows
from transformer.training.objective import DeviceBatch, Parameters, empty_inputs, model_inputs


def make_predict_step(graph: nnx.GraphDef[nnx.Module]) -> Callable[[Parameters, DeviceBatch], Float[Array, "batch classes"]]:
    """The pure function (parameters, batch) -> class probabilities, without dropout; of an ensemble, the mean over its members."""

    def predict_step(parameters: Parameters, batch: DeviceBatch) -> Float[Array, "batch classes"]:
        model: Any = nnx.merge(graph, parameters)
        probabilities: Float[Array, "*members batch classes"] = jax.nn.softmax(model(**model_inputs(batch)), axis=-1)
        return probabilities.mean(axis=tuple(range(probabilities.ndim - 2)))

    return predict_step


AHEAD = 8
"""Batches that are dispatched before the result of the oldest is fetched."""


def fetched(dispatched: Iterable[Any]) -> Iterator[Any]:
    """The results on the host of computations that are dispatched as they are drawn.

    They are dispatched ahead, so that the devices never wait for the host; not all at once, which takes their memory, and more than 32
    steps in flight that wait for each other across a processor's cores block XLA for good.
    """
    waiting: deque[Any] = deque()
    for result in dispatched:
        waiting.append(result)
        if len(waiting) > AHEAD:
            yield jax.device_get(waiting.popleft())
    yield from map(jax.device_get, waiting)


def over_examples(step: Callable[[DeviceBatch], Any], batches: EvaluationBatches, mesh: Mesh) -> Any:
    """What `step` makes of every example of a split, in the split's order: the step's pytree with arrays [examples, ...]."""
    indices: list[Int[np.ndarray, " rows"]] = []

    def dispatched() -> Iterator[Any]:
        for batch, examples in batches:
            indices.append(examples)
            yield step(split_rows(model_inputs(batch), mesh))

    with jax.set_mesh(mesh):
        results = list(fetched(dispatched()))
    example = np.concatenate(indices)
    # Rows that only fill a batch are number -1, and so come first.
    order = np.argsort(example)[np.count_nonzero(example < 0) :]
    return jax.tree.map(lambda *rows: np.concatenate(rows)[order], *results)


class Predictor:
    """Computes a step, such as that of `make_predict_step`, for splits with any parameters; compiles once for each shape of batch."""

    def __init__(self, step: Callable[[Parameters, DeviceBatch], Any], special: SpecialTokens, shapes: Shapes, mesh: Mesh) -> None:
        self._step = jax.jit(step)
        self._special, self._shapes, self._mesh = special, shapes, mesh
        self._compiled: set[tuple[int, int, bool]] = set()

    def _batches(self, split: Split) -> EvaluationBatches:
        return EvaluationBatches(split, self._special, self._shapes, self._mesh.size)

    def compile(self, parameters: Parameters, splits: Collection[Split]) -> None:
        """Compile for every shape now, so that computing these splits afterwards holds no compilation."""
        wanted = {(*shape, split.pair_starts is not None) for split in splits for shape in self._batches(split).shapes}
        with jax.set_mesh(self._mesh):
            for rows, length, pairs in sorted(wanted - self._compiled):
                jax.block_until_ready(self._step(parameters, split_rows(empty_inputs(rows, length, pairs=pairs), self._mesh)))
        self._compiled |= wanted

    @property
    def compilations(self) -> int:
        """How many programs were compiled."""
        return int(self._step._cache_size())  # type: ignore[attr-defined]  # noqa: SLF001  # JAX tells it nowhere else

    def __call__(self, parameters: Parameters, split: Split) -> Any:
        """The step's result for every example of the split: class probabilities [examples, classes], for example."""
        return over_examples(lambda batch: self._step(parameters, batch), self._batches(split), self._mesh)
