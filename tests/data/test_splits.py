"""Splits that the source does not have are drawn by class and seed; nothing is drawn from what cannot give."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.config.errors import UsageError
from transformer.config.schema import Data, File, FilesSource
from transformer.data.sources import Rows, Source
from transformer.data.splits import complete_splits, label_order, stratified_split

counts_strategy = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(2, 40), min_size=1)


def data(**changes: object) -> Data:
    return Data(source=FilesSource(train=[File(path="x.csv")]), **changes)  # type: ignore[arg-type]


@given(counts_strategy, st.floats(0.01, 0.9), st.integers(0, 2**40))
def test_each_class_gives_its_share_and_keeps_some(counts: dict[str, int], fraction: float, seed: int) -> None:
    labels = [label for label, count in counts.items() for _ in range(count)]
    kept, taken = stratified_split(labels, fraction, seed, "validation")
    assert sorted([*kept, *taken]) == list(range(len(labels)))
    assert list(kept) == sorted(kept)
    for label, count in Counter(labels[index] for index in taken).items():
        assert abs(count - fraction * counts[label]) <= 1
    assert {labels[index] for index in kept} == {labels[index] for index in taken} == set(counts)


def test_a_split_follows_its_seed_and_name() -> None:
    labels = ["a", "b"] * 100
    drawn = [stratified_split(labels, 0.2, seed, name)[1] for seed in (0, 0, 1) for name in ("test", "validation")]
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[4])


def test_the_split_of_a_seed_never_changes() -> None:
    """Figures of runs made with other versions of the libraries stay comparable."""
    assert list(stratified_split(["a", "b"] * 10, 0.2, 0, "validation")[1]) == [4, 13, 14, 15]


def test_a_class_with_one_example_cannot_be_split() -> None:
    with pytest.raises(UsageError, match=r"validation.*one example alone in class 'b'.*data\.validation_fraction=0"):
        stratified_split(["a", "a", "b"], 0.1, 0, "validation")


def test_test_then_validation_are_split_off_where_missing() -> None:
    rows = Rows([f"text {number}" for number in range(100)], ["a", "b"] * 50)
    splits, overlap, notes = complete_splits(Source({"train": rows}), data(test_fraction=0.2, validation_fraction=0.25))
    assert {name: len(split) for name, split in splits.items()} == {"train": 60, "test": 20, "validation": 20}
    texts = [text for split in splits.values() for text in split.texts]
    assert sorted(texts) == sorted(rows.texts)
    assert overlap == 0
    assert len(notes) == 2


def test_a_class_of_which_test_left_one_example_is_told_so() -> None:
    rows = Rows([f"text {number}" for number in range(12)], ["a", "b"] * 6)
    with pytest.raises(UsageError, match=r"validation .* class 'a', 'b'.*; before, data\.test_fraction=0\.999 took 10 of 12 rows for test"):
        complete_splits(Source({"train": rows}), data(test_fraction=0.999))
    with pytest.raises(UsageError, match=r"or data\.label_threshold for numbers$"):
        complete_splits(Source({"train": Rows(["x", "y", "z"], ["a", "a", "b"])}), data(test_fraction=0.5))


def test_splits_of_the_source_stay_as_they_are() -> None:
    given_splits = {name: Rows([f"{name} {number}" for number in range(4)], ["a", "b"] * 2) for name in ("train", "validation", "test")}
    splits, _, notes = complete_splits(Source(given_splits), data(test_fraction=0.5))
    assert splits == given_splits
    assert notes == []


def test_duplicates_go_before_any_split_and_the_first_stays() -> None:
    rows = Rows(["x", "y", "x", "z", "x", "w"], ["a", "b", "b", "a", "a", "b"])
    splits, _, notes = complete_splits(Source({"train": rows}), data(deduplicate=True, validation_fraction=0.0))
    assert (splits["train"].texts, splits["train"].labels) == (["x", "y", "z", "w"], ["a", "b", "a", "b"])
    assert "2 of 6 rows of train left out" in notes[0]


def test_test_rows_among_the_training_rows_are_counted() -> None:
    train = Rows(["same", "pair", *map(str, range(18))], ["a", "b"] * 10)
    test = Rows(["same", "other", "same"], ["a", "b", "a"])
    for fraction in (0.0, 0.5):  # rows that became validation were training rows, too
        _, overlap, _ = complete_splits(Source({"train": train, "test": test}), data(validation_fraction=fraction))
        assert overlap == 2


def test_labels_that_look_alike_are_told() -> None:
    rows = Rows(list("stuvwxyz"), ["no", "yes", "No", "yes ", "no", "yes", "No", "yes "])
    _, _, notes = complete_splits(Source({"train": rows}), data(validation_fraction=0.0))
    assert notes == [f"labels {pair} differ in capitals or white space only" for pair in ("'No', 'no'", "'yes', 'yes '")]


def test_an_empty_split_is_an_error() -> None:
    train = Rows(["x", "y"], ["a", "b"])
    with pytest.raises(UsageError, match=r"split test is empty: data\.source\.test"):
        complete_splits(Source({"train": train, "test": Rows()}), data())


def test_labels_are_ordered_by_the_source_by_number_or_by_name() -> None:
    def order(labels: list[str], known: list[str] | None = None) -> list[str]:
        return label_order({"train": Rows(["x"] * len(labels), labels)}, known)

    assert order(["10", "9", "-1"]) == ["-1", "9", "10"]
    assert order(["1", "01", "001", "0001", "00001"]) == ["00001", "0001", "001", "01", "1"]  # in every process, whatever a set's order
    assert order(["10", "9", "x"]) == ["10", "9", "x"]
    assert order(["b", "a"], ["c", "b", "a"]) == ["c", "b", "a"]


def test_labels_that_cannot_be_learned_are_errors() -> None:
    with pytest.raises(UsageError, match="all training rows have the label 'a'"):
        label_order({"train": Rows(["x", "y"], ["a", "a"])}, None)
    with pytest.raises(UsageError, match="split test has the label 'c', which no training row has; those have 'a', 'b'"):
        label_order({"train": Rows(["x", "y"], ["a", "b"]), "test": Rows(["z"], ["c"])}, None)
