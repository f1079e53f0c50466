"""Packed rows hold every text once an epoch, whole, and almost nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.config.schema import Batching
from transformer.data.packing import PackedBatches, pack
from transformer.data.tokenization import SpecialTokens, Split

SPECIAL = SpecialTokens(padding=0, unknown=1, first=2, separator=3, mask=4)
MAXIMUM = 64
lengths_strategy = st.lists(st.integers(0, MAXIMUM), min_size=1, max_size=120)
batching_strategy = st.builds(Batching, tokens=st.integers(64, 512), row_multiple=st.sampled_from([1, 2, 4]))


def split_of(lengths: list[int]) -> Split:
    """Texts whose tokens tell the text and the place: text 3 is 4000, 4001, 4002, ..."""
    tokens = [1000 * (text + 1) + place for text, length in enumerate(lengths) for place in range(length)]
    return Split(np.array(tokens, np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.zeros(len(lengths), np.int32))


def texts_of(batch: dict[str, np.ndarray]) -> list[tuple[int, ...]]:
    """The tokens of each segment of each row."""
    return [
        tuple(tokens[segments == segment].tolist())
        for tokens, segments in zip(batch["tokens"], batch["segments"], strict=True)
        for segment in range(1, segments.max(initial=0) + 1)
    ]


@given(st.lists(st.integers(1, 30), max_size=80), st.integers(30, 40))
def test_no_row_holds_more_than_it_can_and_no_two_rows_would_go_into_one(lengths: list[int], capacity: int) -> None:
    lengths = sorted(lengths, reverse=True)
    rows = pack(np.array(lengths, np.int64), capacity)
    filled = np.bincount(rows, lengths).astype(int) if lengths else np.zeros(0, int)
    assert (filled <= capacity).all()
    assert (filled > 0).all()
    assert len(filled) < 2 or np.sort(filled)[:2].sum() > capacity


def test_a_text_goes_where_it_fits_best() -> None:
    assert pack(np.array([7, 6, 4, 3]), 10).tolist() == [0, 1, 1, 0]


@given(lengths_strategy, batching_strategy, st.integers(0, 2**70), st.integers(0, 3))
def test_every_text_stands_whole_and_once_in_an_epoch(lengths: list[int], batching: Batching, seed: int, epoch: int) -> None:
    batches = PackedBatches(split_of(lengths), SPECIAL, batching, MAXIMUM, seed)
    made = [batches.batch(epoch * batches.steps_per_epoch + step) for step in range(batches.steps_per_epoch)]
    expected = [tuple(1000 * (text + 1) + place for place in range(length)) for text, length in enumerate(lengths) if length]
    assert sorted(text for batch in made for text in texts_of(batch)) == expected
    assert batches.mean_examples * batches.steps_per_epoch == pytest.approx(len(lengths))


@given(lengths_strategy, batching_strategy)
def test_segments_follow_each_other_and_positions_begin_anew_in_each(lengths: list[int], batching: Batching) -> None:
    batches = PackedBatches(split_of(lengths), SPECIAL, batching, MAXIMUM, 0)
    for step in range(batches.steps_per_epoch):
        batch = batches.batch(step)
        assert set(batch) == {"tokens", "segments", "positions"}
        assert all(values.dtype == np.int32 and (values.shape,) == batches.shapes for values in batch.values())
        for tokens, segments, positions in zip(batch["tokens"], batch["segments"], batch["positions"], strict=True):
            real = int(np.count_nonzero(segments))
            assert not segments[real:].any()
            assert not tokens[real:].any()
            assert not positions[real:].any()
            assert set(np.diff(segments[:real], prepend=0)) <= {0, 1}
            np.testing.assert_array_equal(positions[:real], tokens[:real] % 1000)


@given(lengths_strategy, batching_strategy, st.integers(0, 12))
def test_tokens_are_counted_as_they_are_computed(lengths: list[int], batching: Batching, stop: int) -> None:
    batches = PackedBatches(split_of(lengths), SPECIAL, batching, MAXIMUM, 0)
    stop = min(stop, 2 * batches.steps_per_epoch + 1)
    made = [batches.batch(step) for step in range(stop)]
    assert batches.tokens(stop) == (
        sum(np.count_nonzero(batch["segments"]) for batch in made),
        sum(batch["tokens"].size for batch in made),
    )


def packed(seed: int) -> PackedBatches:
    return PackedBatches(
        split_of([3 + (7 * text) % 60 for text in range(300)]), SPECIAL, Batching(tokens=256, row_multiple=2), MAXIMUM, seed
    )


def test_a_batch_depends_on_seed_and_step_alone_and_epochs_differ_in_what_stands_together() -> None:
    batches, again, other = packed(5), packed(5), packed(6)
    steps = batches.steps_per_epoch
    forward = [batches.batch(step) for step in range(2 * steps)]
    backward = [again.batch(step) for step in reversed(range(2 * steps))][::-1]
    for one, two in zip(forward, backward, strict=True):
        np.testing.assert_equal(one, two)
    together = [{frozenset(texts_of({name: rows[[row]] for name, rows in batch.items()})) for batch in some for row in range(4)}
                for some in (forward[:steps], forward[steps:], [other.batch(step) for step in range(steps)])]  # fmt: skip
    # A row that one text fills is the same row in every epoch.
    several = [{row for row in rows if len(row) > 1} for rows in together]
    assert len(several[0] & several[1]) < 0.3 * len(several[0])
    assert len(several[0] & several[2]) < 0.3 * len(several[0])


def test_iteration_goes_over_the_end_of_an_epoch() -> None:
    batches = packed(2)
    start, stop = batches.steps_per_epoch - 3, batches.steps_per_epoch + 4
    for step, batch in zip(range(start, stop), batches.iterate(start, stop), strict=True):
        np.testing.assert_equal(batch, batches.batch(step))


@pytest.mark.parametrize(("median", "spread", "texts"), [(80, 0.9, 5000), (200, 1.0, 20000)])
def test_98_of_100_tokens_are_real_for_long_tailed_lengths(median: int, spread: float, texts: int) -> None:
    """Lengths like those of Reuters R8 and of 20 Newsgroups, long texts split."""
    drawn = np.random.default_rng(0).lognormal(np.log(median), spread, texts).astype(int) + 3
    pieces = np.concatenate([np.full(int((drawn // 512).sum()), 512), drawn % 512])
    pieces = pieces[pieces > 2]
    split = Split(
        np.zeros(pieces.sum(), np.int32), np.concatenate([[0], np.cumsum(pieces)]).astype(np.int64), np.zeros(len(pieces), np.int32)
    )
    batches = PackedBatches(split, SPECIAL, Batching(), 512, 0)
    real, computed = batches.tokens(batches.steps_per_epoch)
    assert real / computed >= 0.98
