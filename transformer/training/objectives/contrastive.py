"""Bring texts that belong together near each other: an encoder to search with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Key

from transformer.config import schema
from transformer.data.batching import EvaluationBatches, TrainingBatches, batch_shapes
from transformer.data.dataset import Dataset, Split
from transformer.training.devices import split_rows
from transformer.training.objective import Batch, Score, Scores, model_inputs

ROWS_AT_ONCE = 1024


def contrastive_loss(
    anchors: Float[Array, "anchors width"],
    candidates: Float[Array, "candidates width"],
    positive: Bool[Array, "anchors candidates"],
    allowed: Bool[Array, "anchors candidates"],
    temperature: float,
) -> tuple[Float[Array, " anchors"], Bool[Array, " anchors"]]:
    """-mean_p log softmax(cosines / temperature)_p over an anchor's positives p, the softmax being over all candidates allowed for it.

    With one positive an anchor this is the loss with in-batch negatives (van den Oord et al. 2018, equation 4; Henderson et al. 2017,
    section 4.4); with several, the supervised contrastive loss (Khosla et al. 2020, equation 2). All vectors have length 1.

    Returns:
        The loss of each anchor in nats, and whether it has a positive at all; without one its loss is 0.
    """
    scores = jnp.where(allowed, anchors @ candidates.T / temperature, -jnp.inf)
    positive = positive & allowed
    count = positive.sum(axis=1)
    known = count > 0
    # A row without a candidate would give a softmax of nothing, whose gradient is not a number.
    logarithms = jax.nn.log_softmax(jnp.where(known[:, None], scores, 0.0), axis=1)
    return -jnp.where(positive, logarithms, 0.0).sum(axis=1) / jnp.maximum(count, 1), known


class ContrastiveObjective:
    """Of single texts, those with the same label belong together; of pairs, the two of a row. See `objective.Objective`."""

    def __init__(self, settings: schema.Contrastive) -> None:
        self._temperature = settings.temperature

    def batches(self, config: schema.Config, dataset: Dataset) -> TrainingBatches:
        """Texts of about the same length together."""
        shapes = batch_shapes(dataset.train.lengths, config.batching, config.data.maximum_length)
        return TrainingBatches(dataset.train, dataset.special, shapes, config.seed)

    def mean_weight(self, batches: TrainingBatches) -> float:
        """Examples a batch."""
        return batches.mean_examples

    def loss(self, model: nnx.Module, batch: Batch, key: Key[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """See `contrastive_loss`; candidates are the other texts of the batch."""
        embedder: Any = model
        real = batch["weights"] > 0
        rows = jnp.arange(real.shape[0])
        itself = rows[:, None] == rows
        if "types" in batch:
            first, second = embedder.pairs(**model_inputs(batch), key=key)
            allowed = jnp.broadcast_to(real, itself.shape)
            there = contrastive_loss(first, second, itself, allowed, self._temperature)
            back = contrastive_loss(second, first, itself, allowed, self._temperature)
            losses, known = (there[0] + back[0]) / 2, there[1]
        else:
            vectors = embedder(**model_inputs(batch), key=key)
            same = batch["labels"][:, None] == batch["labels"]
            losses, known = contrastive_loss(vectors, vectors, same & real, real & ~itself, self._temperature)
        counted = known & real
        return jnp.sum(jnp.where(counted, losses, 0.0)), jnp.sum(counted, dtype=jnp.float32)

    def evaluator(
        self, config: schema.Config, dataset: Dataset, graph: nnx.GraphDef[nnx.Module], mesh: Mesh, score: Score
    ) -> "ContrastiveEvaluator":
        """Search a split with its own texts."""
        shapes = batch_shapes(dataset.train.lengths, config.batching, config.data.maximum_length)
        return ContrastiveEvaluator(graph, dataset, shapes, mesh, self._temperature)


class ContrastiveEvaluator:
    """The loss over a whole split as if it were one batch, and how often the text found nearest is one that belongs there."""

    def __init__(
        self, graph: nnx.GraphDef[nnx.Module], dataset: Dataset, shapes: tuple[tuple[int, int], ...], mesh: Mesh, temperature: float
    ) -> None:
        def embed(parameters: Any, batch: Batch) -> tuple[Float[Array, "rows width"], Float[Array, "rows width"]]:
            embedder: Any = nnx.merge(graph, parameters)
            if "types" in batch:
                return embedder.pairs(**batch)
            vectors = embedder(**batch)
            return vectors, vectors

        self._embed = jax.jit(embed)
        self._special, self._shapes, self._mesh, self._temperature = dataset.special, shapes, mesh, temperature

    def compile(self, parameters: Any) -> None:
        """Compiles when it is first called: its figures hold no times."""

    def __call__(self, parameters: Any, split: Split) -> Scores:
        """`loss`, and `accuracy`: the share of texts whose nearest has their label (of pairs: is the other of the pair)."""
        order, firsts, seconds = [], [], []
        for batch, indices in EvaluationBatches(split, self._special, self._shapes, self._mesh.size):
            first, second = self._embed(parameters, split_rows(model_inputs(batch), self._mesh))
            order.append(indices[indices >= 0])
            firsts.append(np.asarray(first)[indices >= 0])
            seconds.append(np.asarray(second)[indices >= 0])
        back = np.argsort(np.concatenate(order))
        anchors, candidates = np.concatenate(firsts)[back], np.concatenate(seconds)[back]
        rows = np.arange(len(anchors))
        pairs = split.pair_starts is not None
        losses, right, known = 0.0, 0, 0
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            some = slice(begin, begin + ROWS_AT_ONCE)
            itself = rows[some, None] == rows
            positive = itself if pairs else split.labels[some, None] == split.labels
            allowed = np.ones_like(itself) if pairs else ~itself
            loss, has_positive = contrastive_loss(
                jnp.asarray(anchors[some]), jnp.asarray(candidates), jnp.asarray(positive), jnp.asarray(allowed), self._temperature
            )
            losses += float(loss.sum())
            known += int(has_positive.sum())
            nearest = np.where(allowed, anchors[some] @ candidates.T, -np.inf).argmax(axis=1)
            right += int(np.count_nonzero(positive[np.arange(len(nearest)), nearest]))
        return {"loss": losses / max(known, 1), "accuracy": right / max(len(rows), 1)}
