"""Batches of static shape: texts of about the same length together, under a budget of tokens.

The batch of a step is a function of (split, shapes, seed, step) and of nothing else, so training resumes anywhere, whatever the number of
devices.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Int

from transformer.config.schema import Batching
from transformer.data.tokenization import SpecialTokens, Split

T = TypeVar("T")

Batch = dict[str, np.ndarray]
"""`tokens`, `segments` (0 is padding, 1 is text), `positions` [rows, length] int32; for pairs also `types` (1 in the second text);
`labels` [rows] int32; `weights` [rows] float32, 0 for rows that only fill the shape. See `packing.py` for rows of several texts."""

Shapes = tuple[tuple[int, int], ...]
"""The (rows, length) that batches may have, by growing length."""

LENGTH_MULTIPLE = 8
THREADS, BATCHES_AHEAD = 2, 8


def batch_shapes(lengths: Int[np.ndarray, " examples"], batching: Batching, maximum_length: int) -> Shapes:
    """At most `length_groups` shapes for texts of these lengths: the ones that waste the fewest tokens on padding.

    Lengths are multiples of 8, where the maximum length allows it. Rows are as many as the budget holds, a multiple of `row_multiple`.
    By dynamic programming: the best g lengths up to c are some best g - 1 lengths up to b < c, and c.
    """
    longest = int(min(max(lengths, default=1), maximum_length))
    limits = np.minimum(np.arange(1, max(-(-longest // LENGTH_MULTIPLE), 1) + 1) * LENGTH_MULTIPLE, maximum_length)
    upto = np.searchsorted(np.sort(lengths), limits, side="right")
    upto[-1] = len(lengths)
    # computed[b, c]: tokens computed for the texts that limit b - 1 does not hold and limit c does, each padded to limit c.
    before = np.concatenate([[0], upto[:-1]])
    computed = (upto[None, :] - before[:, None]) * limits[None, :].astype(np.float64)
    computed[np.tril_indices(len(limits), -1)] = np.inf
    best, firsts = computed[0], []
    for _ in range(min(batching.length_groups, len(limits)) - 1):
        candidates = np.concatenate([[np.inf], best[:-1]])[:, None] + computed
        # Where the last group begins; 0 where one group more saves nothing.
        firsts.append(np.where(candidates.min(axis=0) < best, candidates.argmin(axis=0), 0))
        best = np.minimum(best, candidates.min(axis=0))
    last = len(limits) - 1
    chosen = [int(limits[last])]
    for first in reversed(firsts):
        if first[last]:
            last = int(first[last]) - 1
            chosen.append(int(limits[last]))
    return tuple((rows_of_length(length, batching), length) for length in reversed(chosen))


def rows_of_length(length: int, batching: Batching) -> int:
    """How many rows of this length a batch has: those that the budget holds, a multiple of `row_multiple`."""
    return max(batching.tokens // length // batching.row_multiple, 1) * batching.row_multiple


class TrainingBatches:
    """The batches of training: every example once an epoch, drawn anew each epoch, in an order that tells nothing of lengths."""

    def __init__(self, split: Split, special: SpecialTokens, shapes: Shapes, seed: int) -> None:
        self.shapes = shapes
        self._split, self._padding, self._seed = split, special.padding, seed
        self._lengths = np.minimum(split.lengths, shapes[-1][1])
        # Kept here and not on the function, so that the plans die with this object; two, because prefetching crosses an epoch's end.
        self._plan = functools.lru_cache(2)(self._draw)
        first = self._draw(0)
        self.steps_per_epoch = len(first)
        self.mean_examples = len(split) / len(first)
        """Mean number of texts a batch."""
        self._real, self._computed = int(self._lengths.sum()), sum(_tokens(shapes, batch) for batch in first)

    def _draw(self, epoch: int) -> "list[PlannedBatch]":
        bits = np.random.Philox(np.random.SeedSequence([self._seed, epoch]))
        batches = self._compose(bits)
        return [batches[index] for index in permutation(bits, len(batches))]

    def _compose(self, bits: np.random.Philox) -> "Sequence[PlannedBatch]":
        return _plan(permutation(bits, len(self._split)), self._lengths, self.shapes, bits)

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0 over all epochs."""
        epoch, index = divmod(step, self.steps_per_epoch)
        return self._plan(epoch)[index].gather(self._split, self._padding, self.shapes)

    def tokens(self, stop: int) -> tuple[int, int]:
        """Tokens in the steps before `stop`: real ones, and all that are computed, padding included."""
        epochs, steps = divmod(stop, self.steps_per_epoch)
        batches = self._plan(epochs)[:steps] if steps else []
        real = sum(int(self._lengths[batch.examples[batch.examples >= 0]].sum()) for batch in batches)
        computed = sum(_tokens(self.shapes, batch) for batch in batches)
        return epochs * self._real + real, epochs * self._computed + computed

    def iterate(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of the steps from `start` to before `stop`, made ahead in background threads."""
        return _prefetched(self.batch, start, stop)


class EvaluationBatches:
    """Every example of a split once, shortest first: pairs of a batch and the indices of its examples, -1 for rows that fill it.

    For texts longer than those of every shape there is one more, with fewer rows, a multiple of `row_multiple`, and no more tokens.
    """

    def __init__(self, split: Split, special: SpecialTokens, shapes: Shapes, row_multiple: int) -> None:
        rows, longest = shapes[-1]
        if (needed := int(max(split.lengths, default=0))) > longest:
            length = -(-needed // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
            shapes = (*shapes, (max(rows * longest // length // row_multiple, 1) * row_multiple, length))
        self.shapes = shapes
        self._split, self._padding = split, special.padding
        lengths = split.lengths
        self._plan = _plan(np.argsort(lengths, kind="stable"), lengths, self.shapes, None)

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[tuple[Batch, Int[np.ndarray, " rows"]]]:
        return _prefetched(self._batch, 0, len(self))

    def _batch(self, index: int) -> tuple[Batch, Int[np.ndarray, " rows"]]:
        planned = self._plan[index]
        return planned.gather(self._split, self._padding, self.shapes), planned.examples


@dataclass(frozen=True)
class PlannedBatch:
    """Which examples make a batch."""

    shape: int
    """Index of its shape."""
    examples: Int[np.ndarray, " examples"]
    """Indices of its examples, one a row, -1 for rows that fill it."""

    def gather(self, split: Split, padding: int, shapes: Shapes) -> Batch:
        """The batch's arrays."""
        length = shapes[self.shape][1]
        filled = self.examples >= 0
        examples = np.where(filled, self.examples, 0)
        starts = split.offsets[examples]
        lengths = np.where(filled, split.offsets[examples + 1] - starts, 0)[:, None]
        columns = np.arange(length)
        inside: Bool[np.ndarray, "rows length"] = columns < lengths
        tokens = np.take(split.tokens, starts[:, None] + columns, mode="clip") if len(split.tokens) else np.zeros(inside.shape)
        batch = {
            "tokens": np.where(inside, tokens, padding).astype(np.int32),
            "segments": inside.astype(np.int32),
            "positions": np.where(inside, columns, 0).astype(np.int32),
            "labels": np.where(filled, split.labels[examples], 0).astype(np.int32),
            "weights": filled.astype(np.float32),
        }
        if split.pair_starts is not None:
            batch["types"] = (inside & (columns >= split.pair_starts[examples][:, None])).astype(np.int32)
        if split.pair_texts is not None:
            batch["texts"] = split.pair_texts[examples].astype(np.int32)
        return batch


def _plan(
    order: Int[np.ndarray, " examples"], lengths: Int[np.ndarray, " examples"], shapes: Shapes, bits: np.random.Philox | None
) -> list[PlannedBatch]:
    """Cut the examples, in this order, into batches of their lengths' shapes; with `bits`, a shape's examples are mixed.

    The longest of a shape, those that do not fill a batch, go to the next longer one (of equally long ones, the last in order), so that
    only the last batch of all has rows without an example.
    """
    order = order[np.argsort(lengths[order], kind="stable")]
    ends = np.searchsorted(lengths[order], [length for _, length in shapes], side="right").tolist()
    batches: list[PlannedBatch] = []
    begin = 0
    for shape, ((rows, _), end) in enumerate(zip(shapes, ends, strict=True)):
        count = (end - begin) // rows * rows
        examples = order[begin : begin + count]
        if bits is not None:
            examples = examples[permutation(bits, count)]
        batches += [PlannedBatch(shape, part) for part in examples.reshape(-1, rows)]
        begin += count
    if left := len(order) - begin:
        # The smallest shape that holds them all might be one that nothing else needs; the longest is there anyway.
        batches.append(PlannedBatch(len(shapes) - 1, np.concatenate([order[begin:], np.full(shapes[-1][0] - left, -1)])))
    return batches


def permutation(bits: np.random.Philox, size: int) -> Int[np.ndarray, " size"]:
    """The numbers from 0 to below `size` in a random order."""
    # Sorted raw bits, because NumPy may change how its generators draw a permutation from them.
    return np.argsort(bits.random_raw(size), kind="stable")


def _tokens(shapes: Shapes, batch: PlannedBatch) -> int:
    rows, length = shapes[batch.shape]
    return rows * length


def _prefetched(make: Callable[[int], T], start: int, stop: int) -> Iterator[T]:
    """`make(start)` to `make(stop - 1)`, made ahead in background threads, which end when the iteration is left."""
    if start >= stop:
        return
    import grain

    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=BATCHES_AHEAD)
    batches = iter(grain.MapDataset.range(start, stop).map(make).to_iter_dataset(options))
    try:
        yield from batches
    finally:
        batches.close()
