"""The figures are what their definitions say, on any split a person may have."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from transformer.config.errors import RunError
from transformer.training.metrics import expected_calibration_error, report, scores


def predictions(seed: int, examples: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(classes, 0.3), examples).astype(np.float32)
    return probabilities, generator.integers(0, classes, examples, dtype=np.int32)


some_predictions = st.builds(predictions, st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 12))


@given(some_predictions)
def test_figures_follow_from_the_confusion_matrix(case: tuple[np.ndarray, np.ndarray]) -> None:
    """Accuracy, precision, recall, F1 and support all follow from the confusion matrix, also where classes are absent."""
    probabilities, labels = case
    classes = probabilities.shape[1]
    figures = report(probabilities, labels, [f"class {index}" for index in range(classes)])
    confusion = np.array(figures["confusion_matrix"])
    true_positives, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    assert confusion.sum() == figures["examples"] == len(labels)
    assert figures["accuracy"] == pytest.approx(true_positives.sum() / len(labels))
    for index, row in enumerate(figures["per_class"]):
        assert row["support"] == support[index] == np.sum(labels == index)
        assert (row["recall"] is None) == (support[index] == 0)
        assert (row["precision"] is None) == (predicted[index] == 0)
        assert row["recall"] is None or row["recall"] == pytest.approx(true_positives[index] / support[index])
        assert row["precision"] is None or row["precision"] == pytest.approx(true_positives[index] / predicted[index])
    defined = [row["f1"] for row in figures["per_class"] if row["f1"] is not None]
    assert figures["macro_f1"] == pytest.approx(np.mean(defined))


@given(some_predictions)
def test_macro_f1_is_the_one_that_papers_report(case: tuple[np.ndarray, np.ndarray]) -> None:
    """It equals scikit-learn's f1_score(average="macro") as everybody calls it, without a list of classes."""
    probabilities, labels = case
    expected = f1_score(labels, probabilities.argmax(axis=1), average="macro", zero_division=0.0)
    assert scores(probabilities, labels)["macro_f1"] == pytest.approx(expected)


@given(some_predictions)
def test_scores_and_report_agree(case: tuple[np.ndarray, np.ndarray]) -> None:
    """What training watches is what evaluation reports, and both can be written as JSON without NaN."""
    probabilities, labels = case
    watched = scores(probabilities, labels)
    figures = report(probabilities, labels, [str(index) for index in range(probabilities.shape[1])])
    assert watched == {"accuracy": figures["accuracy"], "macro_f1": figures["macro_f1"], "loss": figures["log_loss"]}
    json.dumps([watched, figures], allow_nan=False)


def test_a_class_that_neither_occurs_nor_is_predicted_changes_nothing() -> None:
    probabilities, labels = predictions(0, 50, 4)
    with_absent = np.concatenate([probabilities, np.zeros((50, 1), np.float32)], axis=1)
    assert scores(with_absent, labels) == pytest.approx(scores(probabilities, labels))


def test_log_loss_is_the_mean_negative_log_likelihood() -> None:
    """Also where a float32 softmax does not sum to one exactly, or is surer than float32's resolution near one."""
    logits = np.array([[0.0, 30.0, -5.0], [2.0, 1.0, 0.5], [-20.0, 0.0, 0.0]])
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    labels = np.array([0, 0, 0], np.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = scores(np.exp(log_probabilities).astype(np.float32) * np.float32(1 + 1e-6), labels)["loss"]
    assert loss == pytest.approx(-log_probabilities[:, 0].mean(), rel=1e-6)


def test_calibration_error_of_a_known_case() -> None:
    """Eight texts at confidence 0.75, of which four are right, and two at 0.55, both right: 0.8 x 0.25 + 0.2 x 0.45, not cancelled."""
    probabilities = np.array([[0.75, 0.25]] * 8 + [[0.45, 0.55]] * 2)
    labels = np.array([0, 1] * 4 + [1, 1])
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.29)


def test_calibration_error_vanishes_where_confidence_is_the_truth() -> None:
    """Labels drawn from the predicted distribution itself: the error falls with the number of examples."""
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([1.0, 1.0, 1.0], 100_000)
    drawn = (generator.random((100_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert expected_calibration_error(probabilities, drawn) < 0.01
    assert expected_calibration_error(probabilities, (drawn + 1) % 3) > 0.2


def test_calibration_bins_are_closed_above() -> None:
    """Guo et al. 2017: bin m is ((m - 1) / 15, m / 15], so 0.6 lies in the ninth bin, with 0.55, whose error it cancels."""
    probabilities = np.array([[0.6, 0.4], [0.55, 0.45]])
    assert expected_calibration_error(probabilities, np.array([0, 1])) == pytest.approx(abs((1 - 0.6) + (0 - 0.55)) / 2)


def test_probabilities_that_are_not_finite_are_named() -> None:
    probabilities = np.array([[0.5, 0.5], [np.nan, np.nan], [np.nan, 1.0]], np.float32)
    with pytest.raises(RunError, match=r"2 of 3 texts \(the first is number 2\)"):
        scores(probabilities, np.array([0, 1, 1], np.int32))
