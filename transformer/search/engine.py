"""Exact search: a query attends to every document, titles being the keys and texts the values."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from transformer.model.attention import attention_scores, attention_weights
from transformer.model.products import product, product_with_transpose
from transformer.model.sentence_embedder import unit

QUERIES_AT_ONCE = 32
SCORES_AT_ONCE = 2**26
"""Most scores at once, 256 MiB of them: with more documents than 2 million, fewer queries than 32 are answered together."""


@dataclass(frozen=True)
class Answers:
    """What queries found, best first."""

    documents: Int[np.ndarray, "queries found"]
    """Indices of the documents."""
    cosines: Float[np.ndarray, "queries found"]
    """Of the query and each title."""
    weights: Float[np.ndarray, "queries found"]
    """Each document's share in the sum; those of all documents, not only of the ones found, sum to 1."""
    sums: Float[np.ndarray, "queries width"]
    """The texts' vectors, averaged by the weights of all documents."""


def rank(
    queries: Float[Array, "queries width"], keys: Float[Array, "documents width"], temperature: Float[ArrayLike, ""], top: int
) -> tuple[Int[Array, "queries found"], Float[Array, "queries found"], Float[Array, "queries found"], Float[Array, "queries documents"]]:
    """The `top` documents of each query, best first, their cosines, their weights, and the weights of all documents.

    Steps 1 and 2 of attention. The query is scaled so that the score is not cosine / sqrt(width) but cosine / temperature.
    """
    # Accelerators would round the factors of float32 products, and documents that are nearly alike would change places.
    with jax.default_matmul_precision("highest"):
        scores = attention_scores(queries * (math.sqrt(queries.shape[1]) / temperature), keys)
    best, documents = jax.lax.top_k(scores, top)
    weights = attention_weights(scores)
    return documents, best * temperature, jnp.take_along_axis(weights, documents, axis=1), weights


def attend(
    queries: Float[Array, "queries width"],
    keys: Float[Array, "documents width"],
    columns: Float[Array, "width documents"],
    temperature: Float[ArrayLike, ""],
    top: int,
) -> tuple[Int[Array, "queries found"], Float[Array, "queries found"], Float[Array, "queries found"], Float[Array, "queries width"]]:
    """The `top` documents of each query, their cosines, their weights, and step 3: the values averaged by the weights of all documents.

    Args:
        columns: the values, transposed. For a single query a CPU is busy with nothing but reading them, and reads them along their rows
            faster (docs/search.md has the times): this is `weighted_sum` of values that lie so.
    """
    documents, cosines, shares, weights = rank(queries, keys, temperature, top)
    with jax.default_matmul_precision("highest"):
        return documents, cosines, shares, product_with_transpose(weights, columns, jnp.float32)


def nearest_column(
    vectors: Float[Array, "vectors width"], columns: Float[Array, "width documents"]
) -> tuple[Int[Array, " vectors"], Float[Array, " vectors"]]:
    """The document whose value is nearest to each vector, and their cosine."""
    with jax.default_matmul_precision("highest"):
        cosines = product(unit(vectors), columns, jnp.float32)
    return cosines.argmax(axis=1), cosines.max(axis=1)


class SearchEngine:
    """Answers queries from the vectors of titles and texts, which have length 1 and stay on the device.

    Two programs are compiled: for a single query, and for as many as are answered together. On a CPU the arrays of an index are used
    where they lie, in the file's pages, and nothing is copied.
    """

    def __init__(
        self, keys: Float[np.ndarray, "documents width"], columns: Float[np.ndarray, "width documents"], temperature: float
    ) -> None:
        """Take the titles' vectors, and the texts' vectors transposed."""
        self.keys, self.columns = (jax.device_put(array, may_alias=True) for array in (keys, columns))
        self._temperature = np.float32(temperature)
        self._together = max(min(QUERIES_AT_ONCE, SCORES_AT_ONCE // len(keys)), 1)
        self._attend = jax.jit(attend, static_argnames="top")
        self._nearest = jax.jit(nearest_column)

    def __call__(self, queries: Float[np.ndarray, "queries width"], top: int) -> Answers:
        """The best `top` documents of each query, or all where there are fewer, and each query's weighted sum."""
        answer = partial(self._attend, keys=self.keys, columns=self.columns, temperature=self._temperature)
        return Answers(*self._by_blocks(partial(answer, top=min(top, len(self.keys))), queries))

    def nearest(self, vectors: Float[np.ndarray, "vectors width"]) -> tuple[Int[np.ndarray, " vectors"], Float[np.ndarray, " vectors"]]:
        """The document whose text is nearest to each vector, and their cosine."""
        documents, cosines = self._by_blocks(partial(self._nearest, columns=self.columns), vectors)
        return documents, cosines

    def _by_blocks(self, function: "partial[tuple[Array, ...]]", rows: Float[np.ndarray, "rows width"]) -> list[np.ndarray]:
        """Apply a function of rows to blocks of two sizes, and put the results together."""
        size = 1 if len(rows) == 1 else self._together
        results = []
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            filled = np.concatenate([block, np.zeros((size - len(block), block.shape[1]), block.dtype)])
            results.append([np.asarray(result)[: len(block)] for result in function(filled)])
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]
