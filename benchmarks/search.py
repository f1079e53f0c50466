"""How fast and how good the search is: `python -m benchmarks.search`, or with `--quality [MODEL ...]`.

Speed: single queries, one after the other, each answered before the next is asked, over unit vectors drawn at random (the time does not
depend on what they are), with the vectors in memory and the programs compiled. The ways take turns in rounds. Beside ours stand two that
were not taken (titles' vectors in bfloat16, and texts' vectors a row each), and NumPy, which does the same with its own products.

Quality: the test texts of 20 Newsgroups search its training texts; those of its own group are what a text should find.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from benchmarks.search_quality import DEPTHS, Quality, bm25_scores, classes, embedder_scores, retrieval_quality
from transformer.config.command_line import positive_integer, positive_number
from transformer.config.errors import run_command
from transformer.config.load import load_config
from transformer.data.sources import read_source
from transformer.evaluation.machine import processor
from transformer.evaluation.parallelism.process import turns
from transformer.host import make_allocation_cheap
from transformer.model.attention import attention_scores, attention_weights, weighted_sum
from transformer.search.engine import attend, rank
from transformer.search.models import open_model
from transformer.training.devices import set_up_jax

SIZES = ((18_821, 64), (18_821, 384), (1_000_000, 384))
"""(documents, width): all texts of 20 Newsgroups, at the width of a small encoder here and at MiniLM's; and a million."""
TOP, TEMPERATURE = 10, np.float32(0.05)
NEWSGROUPS = Path(__file__).parent.parent / "configs" / "newsgroups" / "transformer.yaml"


def unit_vectors(count: int, width: int, seed: int) -> Float[np.ndarray, "count width"]:
    """Directions drawn at random."""
    vectors = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def ways(documents: int, width: int) -> dict[str, Callable[[np.ndarray], Any]]:
    """What is measured, by name: functions of a query [1, width]."""
    host_keys = unit_vectors(documents, width, 0)
    host_columns = np.random.default_rng(1).standard_normal((width, documents), dtype=np.float32)
    host_columns /= np.linalg.norm(host_columns, axis=0)
    keys, columns = jax.device_put(host_keys), jax.device_put(host_columns)
    halves, rows = keys.astype(jnp.bfloat16), jax.device_put(np.ascontiguousarray(host_columns.T))
    ranked = jax.jit(lambda query, keys: rank(query, keys, TEMPERATURE, TOP)[:3])
    attended = jax.jit(partial(attend, top=TOP))

    @jax.jit
    def ranked_by_halves(query: Array, keys: Array) -> tuple[Array, ...]:
        scores = attention_scores(query * (math.sqrt(width) / TEMPERATURE), keys, jnp.bfloat16)
        best, found = jax.lax.top_k(scores, TOP)
        return found, best, jnp.take_along_axis(attention_weights(scores), found, axis=1)

    @jax.jit
    def attended_by_rows(query: Array, keys: Array, values: Array) -> tuple[Array, ...]:
        *found, weights = rank(query, keys, TEMPERATURE, TOP)
        return *found, weighted_sum(weights, values)

    def with_numpy(query: np.ndarray) -> tuple[np.ndarray, ...]:
        cosines = host_keys @ query[0]
        best = np.argpartition(-cosines, TOP)[:TOP]
        exponentials = np.exp((cosines - cosines.max()) / TEMPERATURE)
        weights = exponentials / exponentials.sum()
        order = best[np.argsort(-cosines[best])]
        return order, cosines[order], weights[order], host_columns @ weights

    return {
        "ranking and weights": lambda query: jax.device_get(ranked(query, keys)),
        "the same, titles in bfloat16": lambda query: jax.device_get(ranked_by_halves(query, halves)),
        "and the weighted sum": lambda query: jax.device_get(attended(query, keys, columns, TEMPERATURE)),
        "the same, texts a row each": lambda query: jax.device_get(attended_by_rows(query, keys, rows)),
        "NumPy, and the weighted sum": with_numpy,
    }


def measure(functions: dict[str, Callable[[np.ndarray], Any]], width: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of each single search, by name."""
    queries = unit_vectors(64, width, 2)
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        for _ in range(3):
            function(queries[:1])
    for names in turns(rounds, list(functions)):
        for name in names:
            end = time.perf_counter() + seconds
            while (start := time.perf_counter()) < end:
                row = len(times[name]) % len(queries)
                functions[name](queries[row : row + 1])
                times[name].append(time.perf_counter() - start)
    return times


def speed_table(rounds: int, seconds: float) -> str:
    """The figures as Markdown."""
    lines = [
        "| documents | width | a search gives | ms, median | ms, 95 of 100 | searches/s |",
        "| ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for documents, width in SIZES:
        for name, times in measure(ways(documents, width), width, rounds, seconds).items():
            middle, slow = statistics.median(times) * 1e3, float(np.quantile(times, 0.95)) * 1e3
            speed = len(times) / sum(times)
            lines.append(f"| {documents:,} | {width} | {name} | {middle:.2f} | {slow:.2f} | {speed:,.0f} |")
            sys.stderr.write(lines[-1] + "\n")
    return "\n".join(lines)


def quality_table(models: list[str]) -> str:
    """The figures of BM25 and of models as Markdown."""

    def tell(line: str) -> None:
        sys.stderr.write(line + "\n")

    # First, so that a name that was mistyped is told at once.
    embedders = [(name, open_model(name, tell)[0]) for name in models]
    splits = read_source(load_config(NEWSGROUPS).data, tell).splits
    documents, queries = splits["train"], splits["test"]
    texts, asked = ([str(text) for text in rows.texts] for rows in (documents, queries))
    of_documents, of_queries = classes(documents, queries)
    heads = " | ".join(f"recall@{depth}" for depth in DEPTHS)
    lines = [f"| ranked by | {heads} | nDCG@10 | minutes |", "| --- | ---: | ---: | ---: | ---: |"]
    perfect: Quality | None = None
    for name, embedder in [("BM25", None), *embedders]:
        start = time.perf_counter()
        scores = bm25_scores(texts, asked) if embedder is None else embedder_scores(embedder, texts, asked)
        quality = retrieval_quality(scores, of_queries, of_documents)
        minutes = (time.perf_counter() - start) / 60
        recalls = " | ".join(f"{quality.recall[depth]:.2%}" for depth in DEPTHS)
        lines.append(f"| {name} | {recalls} | {quality.ndcg:.4f} | {minutes:.1f} |")
        tell(lines[-1])
        perfect = perfect or quality
    assert perfect is not None
    lines.append(f"| perfectly | {' | '.join(f'{perfect.highest_recall[depth]:.2%}' for depth in DEPTHS)} | 1 | |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quality", nargs="*", metavar="MODEL", help="measure BM25 and these models, named as for scripts/retrieve.py")
    parser.add_argument("--rounds", type=positive_integer, default=6, help="rounds of the speed measurement (default: %(default)s)")
    parser.add_argument("--round-seconds", type=positive_number, default=0.5, help="duration of each (default: %(default)s)")
    chosen = parser.parse_args()
    set_up_jax()
    table = speed_table(chosen.rounds, chosen.round_seconds) if chosen.quality is None else quality_table(chosen.quality)
    print(f"{processor()}, {jax.default_backend()}, JAX {jax.__version__}\n\n{table}")


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
