"""Class probabilities of a whole split, in its order."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from transformer.data.batching import EvaluationBatches
from transformer.data.dataset import SpecialTokens, Split
from transformer.training.devices import split_rows
from transformer.training.objective import Batch, Parameters, model_inputs


def make_predict_step(graph: nnx.GraphDef[nnx.Module]) -> Callable[[Parameters, Batch], Float[Array, "batch classes"]]:
    """The pure function (parameters, batch) -> class probabilities, without dropout; of an ensemble, the mean over its members."""

    def predict_step(parameters: Parameters, batch: Batch) -> Float[Array, "batch classes"]:
        model: Any = nnx.merge(graph, parameters)
        probabilities: Float[Array, "*members batch classes"] = jax.nn.softmax(model(**model_inputs(batch)), axis=-1)
        return probabilities.mean(axis=tuple(range(probabilities.ndim - 2)))

    return predict_step


class Predictor:
    """Predicts splits with any parameters of one model; compiles once for each shape of batch."""

    def __init__(
        self,
        graph: nnx.GraphDef[nnx.Module],
        special: SpecialTokens,
        shapes: tuple[tuple[int, int], ...],
        mesh: Mesh,
        *,
        pairs: bool,
    ) -> None:
        self._step = jax.jit(make_predict_step(graph))
        self._special, self._shapes, self._mesh, self._pairs = special, shapes, mesh, pairs
        self._compiled = False

    def compile(self, parameters: Parameters) -> None:
        """Compile for every shape now, so that a measurement afterwards holds no compilation."""
        if self._compiled:
            return
        self._compiled = True
        for rows, length in self._shapes:
            names = ["tokens", "segments", "positions", *(["types"] if self._pairs else [])]
            self._step(parameters, split_rows(dict.fromkeys(names, np.zeros((rows, length), np.int32)), self._mesh))

    @property
    def compilations(self) -> int:
        """How many programs were compiled."""
        return int(self._step._cache_size())  # type: ignore[attr-defined]  # noqa: SLF001  # JAX tells it nowhere else

    def __call__(self, parameters: Parameters, split: Split) -> Float[np.ndarray, "examples classes"]:
        """Class probabilities of every example of the split."""
        dispatched = []
        for batch, indices in EvaluationBatches(split, self._special, self._shapes, self._mesh.size):
            rows = split_rows(model_inputs(batch), self._mesh)
            dispatched.append((indices, self._step(parameters, rows)))
        results = [(indices[indices >= 0], np.asarray(rows)[indices >= 0]) for indices, rows in dispatched]
        order = np.argsort(np.concatenate([indices for indices, _ in results]))
        return np.concatenate([rows for _, rows in results])[order]
