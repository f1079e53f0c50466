"""Two runs are compared only where they were asked the same questions."""

import numpy as np
import pytest

from transformer.config.errors import UsageError
from transformer.evaluation.evaluate import Prediction, compare

PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])


def prediction(directory: str, names: list[str], labels: list[int]) -> Prediction:
    return Prediction(directory, names, np.array(labels), PROBABILITIES[: len(labels)], 1.0)


def test_the_same_rows_are_compared() -> None:
    comparison = compare(prediction("one", ["no", "yes"], [0, 1, 1]), prediction("other", ["no", "yes"], [0, 1, 1]))
    assert comparison["run"] == "other"
    assert comparison["accuracy"]["difference"] == 0


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (["no", "maybe"], [0, 1, 1], r"one and other have different labels \(maybe, yes\); compare runs"),
        (["yes", "no"], [0, 1, 1], r"different labels \(no, yes\)"),
        (["no", "yes"], [0, 1], r"one and other were not tested on the same rows \(3 and 2 examples"),
        (["no", "yes"], [1, 0, 1], r"not tested on the same rows \(3 and 3 examples, in other order or with other labels\)"),
    ],
)
def test_other_labels_or_other_rows_are_refused(names: list[str], labels: list[int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare(prediction("one", ["no", "yes"], [0, 1, 1]), prediction("other", names, labels))
