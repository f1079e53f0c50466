"""Runs are compared and averaged only where they were asked the same questions."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.evaluation.evaluate import Prediction, average, compare

DATA = schema.Data.model_validate({"source": {"kind": "files", "train": [{"path": "rows.csv"}]}})
PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])


def prediction(directory: str, names: list[str], labels: list[int]) -> Prediction:
    return Prediction(directory, names, np.array(labels), PROBABILITIES[: len(labels)], 1.0, DATA, "test")


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
    one, other = prediction("one", ["no", "yes"], [0, 1, 1]), prediction("other", names, labels)
    with pytest.raises(UsageError, match=message):
        compare(one, other)
    with pytest.raises(UsageError, match=message.replace("compare", "average")):
        average([one, one, other])


def test_what_several_runs_predict_together_is_the_mean_of_their_probabilities() -> None:
    names, labels = ["no", "yes"], np.array([0, 1])
    one = Prediction("one", names, labels, np.array([[0.9, 0.1], [0.55, 0.45]]), 30.0, DATA, "test")
    other = Prediction("other", names, labels, np.array([[0.4, 0.6], [0.1, 0.9]]), 60.0, DATA, "test")
    together = average([one, other])
    np.testing.assert_allclose(together.probabilities, [[0.65, 0.35], [0.325, 0.675]])
    assert (together.directory, together.names, together.labels.tolist()) == ("one + other", names, [0, 1])
    assert together.texts_per_second == pytest.approx(20.0)


def test_other_texts_with_the_same_labels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,no\nb,yes\n")
    (tmp_path / "test.csv").write_text("text,label\nc,no\nd,yes\n")
    (tmp_path / "copy.csv").write_text("text,label\nc,no\nd,yes\n")
    (tmp_path / "other.csv").write_text("text,label\nc,no\ne,yes\n")

    def tested_on(name: str) -> Prediction:
        files = {"train": [{"path": str(tmp_path / "train.csv")}], "test": [{"path": str(tmp_path / name)}]}
        data = schema.Data.model_validate({"source": {"kind": "files", **files}, "validation_fraction": 0})
        return dataclasses.replace(prediction(name, ["no", "yes"], [0, 1]), data=data)

    compare(tested_on("test.csv"), tested_on("copy.csv"))
    with pytest.raises(UsageError, match=r"test\.csv and other\.csv were not tested on the same texts; compare runs"):
        compare(tested_on("test.csv"), tested_on("other.csv"))
