"""Batches of full rows: several texts in each, none split, none seeing another.

As in `batching.py`, the batch of a step is a function of (split, shape, seed, step) and of nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from transformer.config.schema import Batching
from transformer.data.batching import Batch, PlannedBatch, Shapes, TrainingBatches, permutation, rows_of_length
from transformer.data.tokenization import SpecialTokens, Split


def pack(lengths: Int[np.ndarray, " texts"], capacity: int) -> Int[np.ndarray, " texts"]:
    """The row of each text, rows being counted from 0: best-fit decreasing (Johnson et al. 1974).

    Each text goes to the row with the least room that still holds it, or to a new one.

    Args:
        lengths: of the texts in tokens, longest first, from 1 to `capacity`.
        capacity: tokens a row.
    """
    rows = np.empty(len(lengths), np.int64)
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    # Bit r is set where some row has room for r tokens: the least room that is enough is then found without a search.
    rooms, count = 0, 0
    for text, length in enumerate(lengths.tolist()):
        enough = rooms >> length
        if enough:
            room = length + (enough & -enough).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, row = capacity, count
            count += 1
        rows[text] = row
        if left := room - length:
            with_room[left].append(row)
            rooms |= 1 << left
    return rows


class PackedBatches(TrainingBatches):
    """Every text once an epoch, in rows that hold as many as fit; which texts stand together is drawn anew each epoch.

    `segments` number the texts of a row from 1 and `positions` begin anew in each; there are no labels and weights. All epochs have the
    same lengths in their rows, so that they have the same number of rows: only which texts of these lengths stand there is drawn. Rows of
    padding fill the last batch. The first epoch also serves to read a split once.
    """

    def __init__(self, split: Split, special: SpecialTokens, batching: Batching, maximum_length: int, seed: int) -> None:
        """Plan the rows, each of `maximum_length` tokens, which no text may exceed."""
        lengths = split.lengths
        self._row = pack(np.sort(lengths[lengths > 0])[::-1], maximum_length)
        shapes: Shapes = ((rows_of_length(maximum_length, batching), maximum_length),)
        super().__init__(split, special, shapes, seed)

    def _compose(self, bits: np.random.Philox) -> Sequence[PlannedBatch]:
        order = permutation(bits, len(self._split))
        order = order[np.argsort(-self._lengths[order], kind="stable")][: len(self._row)]
        count = int(self._row.max(initial=0)) + 1
        row = permutation(bits, count)[self._row]
        by_row = np.argsort(row, kind="stable")
        examples, row = order[by_row], row[by_row]
        ((rows, _),) = self.shapes
        begins = np.arange(0, count, rows)
        bounds = np.searchsorted(row, [*begins, count])
        return [
            PackedBatch(0, examples[bounds[index] : bounds[index + 1]], row[bounds[index] : bounds[index + 1]] - begin)
            for index, begin in enumerate(begins.tolist())
        ]


@dataclass(frozen=True)
class PackedBatch(PlannedBatch):
    """Which texts make a batch, and where they stand."""

    rows: Int[np.ndarray, " examples"]
    """Each text's row, ascending; texts of a row follow each other."""

    def gather(self, split: Split, padding: int, shapes: Shapes) -> Batch:
        """The batch's arrays."""
        shape = shapes[self.shape]
        starts = split.offsets[self.examples]
        lengths = split.offsets[self.examples + 1] - starts
        begins = np.cumsum(lengths) - lengths
        # Of each text: the first one of its row.
        first = np.searchsorted(self.rows, self.rows)
        inside = np.arange(lengths.sum()) - np.repeat(begins, lengths)
        place = np.repeat(self.rows * shape[1] + begins - begins[first], lengths) + inside
        batch = {}
        for name, empty, values in (
            ("tokens", padding, split.tokens[np.repeat(starts, lengths) + inside]),
            ("segments", 0, np.repeat(np.arange(len(first)) - first + 1, lengths)),
            ("positions", 0, inside),
        ):
            flat = np.full(shape[0] * shape[1], empty, np.int32)
            flat[place] = values
            batch[name] = flat.reshape(shape)
        return batch
