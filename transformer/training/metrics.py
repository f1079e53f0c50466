"""Quality of predicted probabilities: scikit-learn's metrics, with its traps handled in one place."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

from transformer.config.errors import RunError

Probabilities = Float[np.ndarray, "examples classes"]
Labels = Int[np.ndarray, " examples"]

BINS = 15
"""Bins of the calibration error."""


def scores(probabilities: Probabilities, labels: Labels) -> dict[str, float]:
    """Accuracy, macro-F1 and log loss in nats: what is watched while training.

    Macro-F1 is the plain mean of F1 = 2 TP / (2 TP + FP + FN) over the classes that occur among the labels or the predictions; for
    a class in neither, F1 is 0 / 0 and says nothing about the model.

    Raises RunError where a probability is not finite.
    """
    return _scores(_checked(probabilities), labels)


def report(probabilities: Probabilities, labels: Labels, names: list[str]) -> dict[str, Any]:
    """Everything that is told of a trained model on one split, ready for JSON.

    `per_class` has a row a class, in index order: precision, recall, F1 and support (its examples in the split); a ratio 0 / 0 is None.
    `confusion_matrix[i][j]` counts the examples of class i that were predicted as class j. `macro_f1` and the log loss (in nats) are
    those of `scores`.

    Raises RunError where a probability is not finite.
    """
    probabilities = _checked(probabilities)
    headline = _scores(probabilities, labels)
    classes, predictions = np.arange(len(names)), probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predictions, labels=classes, zero_division=np.nan)
    return {
        "accuracy": headline["accuracy"],
        "macro_f1": headline["macro_f1"],
        "log_loss": headline["loss"],
        "expected_calibration_error": expected_calibration_error(probabilities, labels),
        "examples": len(labels),
        "per_class": [
            {
                "label": name,
                "precision": _defined(precision[index]),
                "recall": _defined(recall[index]),
                "f1": _defined(f1[index]),
                "support": int(support[index]),
            }
            for index, name in enumerate(names)
        ],
        "confusion_matrix": confusion_matrix(labels, predictions, labels=classes).tolist(),
    }


def expected_calibration_error(probabilities: Probabilities, labels: Labels) -> float:
    """Mean distance between how sure the model is and how often it is right (Naeini et al. 2015; Guo et al. 2017, equation 3).

    The examples are sorted into 15 bins of equal width by confidence, the probability of the predicted class; a bin's distance is
    |accuracy - mean confidence|, weighted by its share of the examples.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return float(np.abs(np.bincount(bin_of, weights=correct - confidence)).sum() / len(labels))


def _scores(probabilities: Probabilities, labels: Labels) -> dict[str, float]:
    classes, predictions = np.arange(probabilities.shape[1]), probabilities.argmax(axis=1)
    # All classes are named, because a split may lack some; zero_division=nan leaves the undefined ones out of the mean.
    _, _, macro_f1, _ = precision_recall_fscore_support(labels, predictions, labels=classes, average="macro", zero_division=np.nan)
    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(macro_f1),
        "loss": float(log_loss(labels, probabilities, labels=classes)),
    }


def _checked(probabilities: Probabilities) -> Probabilities:
    finite = np.isfinite(probabilities).all(axis=1)
    if not finite.all():
        raise RunError(
            f"the model's probabilities are not finite for {(~finite).sum()} of {len(finite)} texts (the first is number "
            f"{finite.argmin() + 1}); lower optimizer.learning_rate or set training.gradient_clip, and train again"
        )
    # A float32 softmax sums to 1 within 1e-7 only; log_loss warns above 1.5e-8 and clips float32 at 1.2e-7.
    probabilities = probabilities.astype(np.float64)
    return probabilities / probabilities.sum(axis=1, keepdims=True)


def _defined(ratio: float) -> float | None:
    return None if np.isnan(ratio) else float(ratio)
