"""Batches hold every example once an epoch, in a few static shapes, whatever order their steps are asked for."""

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.config.schema import Batching
from transformer.data.batching import EvaluationBatches, TrainingBatches, batch_shapes
from transformer.data.tokenization import SpecialTokens, Split

SPECIAL = SpecialTokens(padding=0, unknown=1, first=2, separator=3, mask=4)
MAXIMUM = 64


def split_of(lengths: list[int], *, pairs: bool = False) -> Split:
    """Texts whose tokens tell the example and the place: example 3 is 300, 301, 302, ..."""
    tokens = [1000 * (example + 1) + place for example, length in enumerate(lengths) for place in range(length)]
    return Split(
        tokens=np.array(tokens, np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=np.arange(len(lengths), dtype=np.int32) % 7,
        pair_starts=np.array(lengths, np.int32) // 2 if pairs else None,
    )


lengths_strategy = st.lists(st.integers(0, MAXIMUM), min_size=1, max_size=120)
batching_strategy = st.builds(
    Batching, tokens=st.integers(64, 1024), length_groups=st.integers(1, 6), row_multiple=st.sampled_from([1, 2, 4])
)


def examples_of(batch: dict[str, np.ndarray]) -> list[int]:
    """Which examples of `split_of` stand in a batch (those of one token or more)."""
    rows = (batch["weights"] == 1) & (batch["segments"][:, 0] == 1)
    return sorted(int(token) // 1000 - 1 for token in batch["tokens"][rows, 0])


@given(lengths_strategy, batching_strategy)
def test_shapes_are_few_and_keep_the_budget(lengths: list[int], batching: Batching) -> None:
    shapes = batch_shapes(np.array(lengths), batching, MAXIMUM)
    assert 1 <= len(shapes) <= batching.length_groups
    assert [length for _, length in shapes] == sorted({length for _, length in shapes})
    assert max(*lengths, 1) <= shapes[-1][1] < max(*lengths, 1) + 8
    for rows, length in shapes:
        assert rows % batching.row_multiple == 0
        assert rows * length <= batching.tokens or rows == batching.row_multiple
        assert (rows + batching.row_multiple) * length > batching.tokens


@given(st.lists(st.integers(1, 48), min_size=1, max_size=60), st.integers(1, 4))
def test_no_other_lengths_would_pad_less(lengths: list[int], groups: int) -> None:
    def computed(limits: list[int]) -> int:
        return sum(min(limit for limit in limits if limit >= length) for length in lengths)

    longest = -(-max(lengths) // 8) * 8
    least = min(computed([*inner, longest]) for count in range(groups) for inner in itertools.combinations(range(8, longest, 8), count))
    shapes = batch_shapes(np.array(lengths), Batching(length_groups=groups), MAXIMUM)
    assert computed([length for _, length in shapes]) == least


def test_the_last_length_is_the_maximum_even_if_eight_does_not_divide_it() -> None:
    assert batch_shapes(np.array([3, 50, 50]), Batching(length_groups=3), 50)[-1][1] == 50


@given(lengths_strategy, batching_strategy, st.integers(0, 2**70), st.integers(0, 3))
def test_every_example_stands_once_in_an_epoch(lengths: list[int], batching: Batching, seed: int, epoch: int) -> None:
    split = split_of(lengths)
    batches = TrainingBatches(split, SPECIAL, batch_shapes(split.lengths, batching, MAXIMUM), seed)
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    epoch_batches = [batches.batch(step) for step in steps]
    assert sorted(example for batch in epoch_batches for example in examples_of(batch)) == list(np.flatnonzero(lengths))
    assert sum(batch["weights"].sum() for batch in epoch_batches) == len(lengths)
    assert batches.mean_examples * batches.steps_per_epoch == pytest.approx(len(lengths))
    fillers = [int((batch["weights"] == 0).sum()) for batch in epoch_batches]
    assert sum(filler > 0 for filler in fillers) <= 1, "more than one batch is not full"


@given(lengths_strategy, batching_strategy, st.booleans())
def test_a_row_is_its_text_and_padding(lengths: list[int], batching: Batching, pairs: bool) -> None:
    split = split_of(lengths, pairs=pairs)
    shapes = batch_shapes(split.lengths, batching, MAXIMUM)
    for batch, examples in EvaluationBatches(split, SPECIAL, shapes, batching.row_multiple):
        assert batch["tokens"].shape in shapes
        assert ("types" in batch) == pairs
        for row, example in enumerate(examples):
            length = lengths[example] if example >= 0 else 0
            text = np.arange(batch["tokens"].shape[1]) < length
            np.testing.assert_array_equal(batch["segments"][row], text)
            np.testing.assert_array_equal(batch["tokens"][row, :length], 1000 * (example + 1) + np.arange(length))
            np.testing.assert_array_equal(batch["positions"][row, :length], np.arange(length))
            assert not batch["tokens"][row, length:].any()
            assert not batch["positions"][row, length:].any()
            assert batch["weights"][row] == (example >= 0)
            assert batch["labels"][row] == (split.labels[example] if example >= 0 else 0)
            if pairs:
                np.testing.assert_array_equal(batch["types"][row], text & (np.arange(len(text)) >= length // 2))
        for name, values in batch.items():
            assert values.dtype == (np.float32 if name == "weights" else np.int32)


@given(lengths_strategy, batching_strategy)
def test_evaluation_reads_every_example_once(lengths: list[int], batching: Batching) -> None:
    split = split_of(lengths)
    batches = EvaluationBatches(split, SPECIAL, batch_shapes(split.lengths, batching, MAXIMUM), batching.row_multiple)
    indices = [examples for _, examples in batches]
    assert len(indices) == len(batches)
    assert sorted(index for index in np.concatenate(indices) if index >= 0) == list(range(len(lengths)))


def test_evaluation_takes_texts_longer_than_any_of_training_within_the_budget() -> None:
    shapes = batch_shapes(np.array([5, 9]), Batching(tokens=448, row_multiple=2), MAXIMUM)
    batches = EvaluationBatches(split_of([60, 4, 9]), SPECIAL, shapes, row_multiple=2)
    assert batches.shapes == (*shapes, (6, 64))
    assert sum(batch["segments"].sum() for batch, _ in batches) == 73


LENGTHS = [3 + (7 * example) % 60 for example in range(300)]
BATCHING = Batching(tokens=512, length_groups=4, row_multiple=2)


def training(seed: int) -> TrainingBatches:
    split = split_of(LENGTHS)
    return TrainingBatches(split, SPECIAL, batch_shapes(split.lengths, BATCHING, MAXIMUM), seed)


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    batches, again = training(5), training(5)
    steps = 3 * batches.steps_per_epoch
    forward = [batches.batch(step) for step in range(steps)]
    backward = [again.batch(step) for step in reversed(range(steps))][::-1]
    assert all(map(equal, forward, backward))
    other = [training(6).batch(step) for step in range(batches.steps_per_epoch)]
    assert not all(map(equal, forward, other))


def test_epochs_differ_in_what_stands_together_and_in_the_order_of_lengths() -> None:
    batches = training(0)
    steps = batches.steps_per_epoch
    epochs = [[batches.batch(epoch * steps + step) for step in range(steps)] for epoch in range(2)]
    together = [{tuple(examples_of(batch)) for batch in epoch} for epoch in epochs]
    # A shape of which an epoch has one batch has the same texts in it every time.
    assert len(together[0] & together[1]) <= len(batches.shapes)
    assert len(together[0] - together[1]) > 0.8 * steps
    lengths = [[batch["tokens"].shape[1] for batch in epoch] for epoch in epochs]
    assert sorted(lengths[0]) == sorted(lengths[1])
    assert lengths[0] != lengths[1]
    assert lengths[0] != sorted(lengths[0])


def test_a_long_text_is_as_likely_early_as_late() -> None:
    batches = training(1)
    steps, epochs = batches.steps_per_epoch, 60
    places = [
        step / steps for epoch in range(epochs) for step in range(steps) if batches.batch(epoch * steps + step)["tokens"].shape[1] == 64
    ]
    # Uniform places have mean 1/2 - 1/(2 steps) and deviation 1/sqrt(12): five deviations of the mean.
    assert abs(np.mean(places) - 0.5 + 0.5 / steps) < 5 / np.sqrt(12 * len(places))


def test_iteration_is_the_batches_in_order() -> None:
    batches = training(2)
    start, stop = batches.steps_per_epoch - 3, batches.steps_per_epoch + 4
    iterated = list(batches.iterate(start, stop))
    assert len(iterated) == stop - start
    assert all(equal(batch, batches.batch(step)) for step, batch in zip(range(start, stop), iterated, strict=True))
    assert list(batches.iterate(5, 5)) == []


def prefetching() -> int:
    return sum("grain-prefetch" in thread.name for thread in threading.enumerate())


def test_background_threads_end_when_iteration_is_left() -> None:
    iteration = training(3).iterate(0, 1000)
    next(iteration)
    assert prefetching() > 0
    iteration.close()  # what leaving a loop does
    for thread in threading.enumerate():
        if "grain-prefetch" in thread.name:
            thread.join(timeout=10)
    assert prefetching() == 0


def test_a_fault_in_the_background_reaches_the_loop() -> None:
    batches = training(4)
    batches.batch = None  # type: ignore[method-assign, assignment]
    with pytest.raises(TypeError):
        list(batches.iterate(0, 2))


@given(lengths_strategy, batching_strategy, st.integers(0, 12))
def test_tokens_are_counted_as_they_are_computed(lengths: list[int], batching: Batching, stop: int) -> None:
    split = split_of(lengths)
    batches = TrainingBatches(split, SPECIAL, batch_shapes(split.lengths, batching, MAXIMUM), 0)
    stop = min(stop, 2 * batches.steps_per_epoch + 1)
    made = [batches.batch(step) for step in range(stop)]
    assert batches.tokens(stop) == (sum(batch["segments"].sum() for batch in made), sum(batch["tokens"].size for batch in made))


@pytest.mark.parametrize(("median", "spread", "examples"), [(80, 0.9, 5000), (200, 1.0, 10000)])
def test_nine_tenths_of_the_tokens_are_real_for_long_tailed_lengths(median: int, spread: float, examples: int) -> None:
    """Lengths like those of Reuters R8 and of 20 Newsgroups, cut at 512, with the default batching."""
    drawn = np.random.default_rng(0).lognormal(np.log(median), spread, examples)
    lengths = np.clip(drawn, 3, 512).astype(int)
    split = Split(np.zeros(lengths.sum(), np.int32), np.concatenate([[0], np.cumsum(lengths)]), np.zeros(examples, np.int32))
    batching = Batching(length_groups=16)
    batches = TrainingBatches(split, SPECIAL, batch_shapes(split.lengths, batching, 512), 0)
    real, computed = batches.tokens(batches.steps_per_epoch)
    assert real / computed >= 0.9
