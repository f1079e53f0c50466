"""Bring texts that belong together near each other: an encoder to search with."""

import functools
import itertools
import operator
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key
from tokenizers import Tokenizer

from transformer.config import schema
from transformer.data.batching import Shapes
from transformer.data.dataset import Dataset
from transformer.data.tokenization import SpecialTokens, Split
from transformer.training.objective import DeviceBatch, Objective, Parameters, Scores, empty_inputs, model_inputs
from transformer.training.prediction import Predictor

ROWS_AT_ONCE = 1024

Numbers = Int[Array, "pairs 2"] | Int[np.ndarray, "pairs 2"]
"""Of the two texts of each pair: equal where the texts are."""


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


class ContrastiveObjective(Objective):
    """Of single texts, those with the same label belong together; of pairs, the two of a row.

    A text without another of its label in the batch has no loss and does not count in the mean that is logged; in the gradient, which is
    divided by the examples of an average batch, it counts as a zero. Rows of pairs that have a text in common are no negatives of each
    other.
    """

    def __init__(self, settings: schema.Contrastive, between: int) -> None:
        """Take the settings, and what `tokens_between` says of pairs."""
        self._temperature, self._between = settings.temperature, between

    def loss(self, model: nnx.Module, batch: DeviceBatch, key: Key[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """See `contrastive_loss`; candidates are the other texts of the batch."""
        embedder: Any = model
        real = batch["weights"] > 0
        rows = jnp.arange(real.shape[0])
        itself = rows[:, None] == rows
        if "types" in batch:
            first, second = embedder.pairs(**model_inputs(batch), between=self._between, key=key)
            allowed = real & (itself | ~have_a_text_in_common(batch["texts"], batch["texts"]))
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
        self, config: schema.Config, dataset: Dataset, shapes: Shapes, graph: nnx.GraphDef[nnx.Module], mesh: Mesh
    ) -> "ContrastiveEvaluator":
        """Search a split with its own texts."""
        return ContrastiveEvaluator(graph, dataset.special, shapes, mesh, self._temperature, self._between)


class ContrastiveEvaluator:
    """The loss over a whole split as if it were one batch, and how often the text found nearest is one that belongs there."""

    def __init__(
        self,
        graph: nnx.GraphDef[nnx.Module],
        special: SpecialTokens,
        shapes: Shapes,
        mesh: Mesh,
        temperature: float,
        between: int,
    ) -> None:
        def embed(parameters: Parameters, batch: DeviceBatch) -> tuple[Float[Array, "rows width"], Float[Array, "rows width"]]:
            embedder: Any = nnx.merge(graph, parameters)
            if "types" in batch:
                return embedder.pairs(**batch, between=between)
            vectors = embedder(**batch)
            return vectors, vectors

        self._embed, self._predictor = embed, Predictor(embed, special, shapes, mesh)
        self._shapes, self._temperature = shapes, temperature
        self._compared: set[int] = set()

    def compile(self, parameters: Parameters, splits: Collection[Split]) -> None:
        """Compile for every shape of batch, and for comparing the texts of each split."""
        self._predictor.compile(parameters, splits)
        for split in splits:
            if len(split) in self._compared:
                continue
            self._compared.add(len(split))
            batch = empty_inputs(*self._shapes[0], pairs=split.pair_starts is not None)
            width = jax.eval_shape(self._embed, parameters, batch)[0].shape[1]
            nothing = np.zeros((len(split), width), np.float32)
            blocks = _blocks(len(split))
            for block in blocks[:1] + blocks[-1:]:  # all others are as large as the first
                self._compare(nothing[block], nothing, *_positive_and_allowed(split, block))

    def __call__(self, parameters: Parameters, split: Split) -> Scores:
        """`loss`, and `accuracy`: the share of texts whose nearest has their label (of pairs: is the other of the pair)."""
        anchors, candidates = self._predictor(parameters, split)
        losses, known, right = 0.0, 0, 0
        for block in _blocks(len(split)):
            positive, allowed = _positive_and_allowed(split, block)
            loss, known_here, right_here = self._compare(anchors[block], candidates, positive, allowed)
            if split.pair_texts is not None:  # the second text finds the first as well, as in training
                loss = (loss + self._compare(candidates[block], anchors, positive, allowed)[0]) / 2
            losses, known, right = losses + loss, known + known_here, right + right_here
        return {"loss": losses / max(known, 1), "accuracy": right / max(len(split), 1)}

    def _compare(
        self,
        anchors: Float[np.ndarray, "anchors width"],
        candidates: Float[np.ndarray, "texts width"],
        positive: Bool[np.ndarray, "anchors texts"],
        allowed: Bool[np.ndarray, "anchors texts"],
    ) -> tuple[float, int, int]:
        """Of the anchors: their summed loss, how many have a loss, and of how many the nearest belongs there."""
        losses, known = contrastive_loss(
            jnp.asarray(anchors), jnp.asarray(candidates), jnp.asarray(positive), jnp.asarray(allowed), self._temperature
        )
        nearest = np.where(allowed, anchors @ candidates.T, -np.inf).argmax(axis=1)
        right = np.take_along_axis(positive, nearest[:, None], axis=1)
        return float(losses.sum()), int(known.sum()), int(np.count_nonzero(right))


def _positive_and_allowed(split: Split, block: slice) -> tuple[Bool[np.ndarray, "block texts"], Bool[np.ndarray, "block texts"]]:
    """For each example of a block, which of all belong to it, and which it is held against."""
    rows = np.arange(len(split))
    itself = rows[block, None] == rows
    if split.pair_texts is None:
        return split.labels[block, None] == split.labels, ~itself
    return itself, itself | ~have_a_text_in_common(split.pair_texts[block], split.pair_texts)


def have_a_text_in_common(rows: Numbers, others: Numbers) -> Bool[Array | np.ndarray, "rows others"]:
    """Which rows of pairs hold a text that the others hold too, first or second; texts are told by their numbers."""
    places = itertools.product(range(2), repeat=2)
    return functools.reduce(operator.or_, (rows[:, here, None] == others[:, there] for here, there in places))


def tokens_between(tokenizer: Tokenizer, special: SpecialTokens) -> int | None:
    """How many more tokens a tokenizer writes between the two texts of a pair than end the first alone: 0 as BERT's, 1 as RoBERTa's.

    None where a text does not begin with the first token, or a pair is not the one text and then the other.
    """
    first, second, pair = (tokenizer.encode(*texts).ids for texts in (("a",), ("b",), ("a", "b")))
    between = len(pair) - len(first) - len(second) + 1
    fits = first[:1] == second[:1] == [special.first] and pair[: len(first)] == first and pair[len(first) + between :] == second[1:]
    return between if fits and between >= 0 else None


def _blocks(texts: int) -> list[slice]:
    return [slice(begin, begin + ROWS_AT_ONCE) for begin in range(0, texts, ROWS_AT_ONCE)]
