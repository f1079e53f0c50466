"""How good a ranking is, on a task where the documents of a query's class are those it should find."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int
from sklearn.metrics import ndcg_score, recall_score

from transformer.data.sources import Rows
from transformer.model.attention import attention_scores
from transformer.search.embedding import Embedder

QUERIES_AT_ONCE = 512
DEPTHS = (10, 100)

Scores = Iterator[Float[np.ndarray, "queries documents"]]
"""A score of each document for each query, higher for better, some queries at a time."""


@dataclass(frozen=True)
class Quality:
    """Means over the queries."""

    recall: dict[int, float]
    """By k: the share of a query's relevant documents that stand among its first k."""
    highest_recall: dict[int, float]
    """The same of a perfect ranking: with more than k relevant documents not all can stand there."""
    ndcg: float
    """Normalized discounted cumulative gain of the first 10 (Järvelin and Kekäläinen 2002); 1 is perfect."""


def retrieval_quality(
    scores: Scores, query_classes: Int[np.ndarray, " queries"], document_classes: Int[np.ndarray, " documents"]
) -> Quality:
    """Measure scores by scikit-learn's recall and nDCG; a document is relevant where it has the query's class.

    Documents with equal scores share their ranks in nDCG; in recall the first in order come first.
    """
    totals: dict[str, float] = {}
    start = 0
    for block in scores:
        relevant = query_classes[start : start + len(block), None] == document_classes
        start += len(block)
        figures = {"ndcg": float(ndcg_score(relevant, block, k=DEPTHS[0]))}
        for depth in DEPTHS:
            figures[f"recall {depth}"] = _recall(relevant, block, depth)
            figures[f"highest {depth}"] = _recall(relevant, relevant.astype(np.float32), depth)
        for name, value in figures.items():
            totals[name] = totals.get(name, 0.0) + value * len(block)
    means = {name: total / start for name, total in totals.items()}
    return Quality(
        recall={depth: means[f"recall {depth}"] for depth in DEPTHS},
        highest_recall={depth: means[f"highest {depth}"] for depth in DEPTHS},
        ndcg=means["ndcg"],
    )


def bm25_scores(documents: Sequence[str], queries: Sequence[str]) -> Scores:
    """BM25 as the library bm25s has it by default: Lucene's variant (k1 = 1.5, b = 0.75), English stop words left out, no stemming."""
    import bm25s  # here, since it computes with JAX while it is imported, before `set_up_jax` could say on what

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets DEBUG itself

    engine = bm25s.BM25()
    engine.index(bm25s.tokenize(list(documents), show_progress=False), show_progress=False)
    nothing = np.zeros(len(documents), np.float32)
    words = bm25s.tokenize(list(queries), return_ids=False, show_progress=False)
    for start in range(0, len(words), QUERIES_AT_ONCE):
        # The library fails at a query without words.
        block = [engine.get_scores(query) if query else nothing for query in words[start : start + QUERIES_AT_ONCE]]
        yield np.stack(block)


def embedder_scores(embedder: Embedder, documents: Sequence[str], queries: Sequence[str]) -> Scores:
    """The cosines of the vectors (times a constant, which changes no ranking)."""
    keys, vectors = embedder(documents), embedder(queries)
    for start in range(0, len(vectors), QUERIES_AT_ONCE):
        yield np.asarray(attention_scores(vectors[start : start + QUERIES_AT_ONCE], keys))


def classes(documents: Rows, queries: Rows) -> tuple[Int[np.ndarray, " documents"], Int[np.ndarray, " queries"]]:
    """The labels of both as numbers."""
    numbers = {label: number for number, label in enumerate(sorted({*documents.labels, *queries.labels}))}
    of_documents, of_queries = (np.array([numbers[label] for label in rows.labels]) for rows in (documents, queries))
    return of_documents, of_queries


def _recall(relevant: Bool[np.ndarray, "queries documents"], scores: Float[np.ndarray, "queries documents"], depth: int) -> float:
    depth = min(depth, scores.shape[1])
    found = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    rows = np.repeat(np.arange(len(scores)), depth)
    retrieved = scipy.sparse.csr_array((np.ones(rows.size, np.int8), (rows, found.ravel())), shape=scores.shape)
    return float(recall_score(scipy.sparse.csr_array(relevant.astype(np.int8)), retrieved, average="samples", zero_division=0.0))
