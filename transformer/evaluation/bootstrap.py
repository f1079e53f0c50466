"""Is one model better than another on the same examples, or was it luck of the draw?"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

Classes = Int[np.ndarray, " examples"]

RESAMPLES = 10_000
LEVEL = 0.95


def paired_bootstrap(labels: Classes, predictions: Classes, baseline_predictions: Classes, classes: int) -> dict[str, Any]:
    """Differences in accuracy and macro-F1, the model's minus the baseline's, with 95 % intervals and two-sided p-values.

    Test sets are drawn anew from the examples, with replacement, 10,000 times, the same draw for both models (Efron and Tibshirani 1993,
    chapters 6 and 13; Koehn 2004). The interval is the percentile interval; the p-value is the smallest level at which that interval
    still excludes 0, counted as (k + 1) / (n + 1) so that it is never 0 (Davison and Hinkley 1997, section 4.2).

    `predictions` are the predicted classes. The result has, for "accuracy" and "macro_f1", {"difference", "low", "high", "p_value"}.
    """
    # A draw is told by how often it has each (label, prediction, prediction) that occurs: fewer numbers than examples, same distribution.
    outcomes, counts = np.unique(np.stack([labels, predictions, baseline_predictions]), axis=1, return_counts=True)
    measured = _differences(counts[None], outcomes, classes)
    draws = [_differences(drawn, outcomes, classes) for drawn in _draws(counts)]
    result: dict[str, Any] = {"resamples": RESAMPLES, "level": LEVEL}
    for name, value in measured.items():
        drawn = np.concatenate([draw[name] for draw in draws])
        result[name] = {"difference": float(value[0]), **_interval_and_p(drawn)}
    return result


def paired_bootstrap_of_means(
    correct: Bool[np.ndarray, "trainings examples"], baseline_correct: Bool[np.ndarray, "baseline_trainings examples"]
) -> dict[str, float]:
    """The same for the accuracy of models trained several times: the difference, its 95 % interval and its p-value.

    `correct` says which of a model's trainings predicted each example rightly. Examples are drawn anew, trainings are not: what is asked is
    whether the difference would hold on another test set.
    """
    # Whole numbers: as shares, 1 - 2/3 is not 1/3 - 0, a draw in which the models are level sums to 1e-18, and p comes out too small.
    differences, counts = np.unique(
        len(baseline_correct) * correct.sum(axis=0) - len(correct) * baseline_correct.sum(axis=0), return_counts=True
    )
    whole = len(baseline_correct) * len(correct) * counts.sum()
    drawn = np.concatenate([draws @ differences / whole for draws in _draws(counts)])
    return {"difference": float(differences @ counts / whole), **_interval_and_p(drawn)}


def _interval_and_p(drawn: Float[np.ndarray, " draws"]) -> dict[str, float]:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    beyond = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return {"low": float(low), "high": float(high), "p_value": float(min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1)))}


def _draws(counts: Int[np.ndarray, " outcomes"]) -> Iterator[Int[np.ndarray, "draws outcomes"]]:
    generator = np.random.default_rng(0)
    share = counts / counts.sum()
    for _ in range(RESAMPLES // 1000):
        yield generator.multinomial(counts.sum(), share, size=1000)


def _differences(
    counts: Int[np.ndarray, "draws outcomes"], outcomes: Int[np.ndarray, "3 outcomes"], classes: int
) -> dict[str, Float[np.ndarray, " draws"]]:
    labels, predictions, baseline_predictions = outcomes
    accuracy, macro_f1 = _accuracy_and_macro_f1(counts, labels, predictions, classes)
    baseline_accuracy, baseline_macro_f1 = _accuracy_and_macro_f1(counts, labels, baseline_predictions, classes)
    return {"accuracy": accuracy - baseline_accuracy, "macro_f1": macro_f1 - baseline_macro_f1}


def _accuracy_and_macro_f1(
    counts: Int[np.ndarray, "draws outcomes"], labels: Int[np.ndarray, " outcomes"], predictions: Int[np.ndarray, " outcomes"], classes: int
) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
    # scikit-learn measures one draw a call, 20,000 calls a comparison; a test holds these sums against it.
    one_hot = np.eye(classes)
    is_label, is_prediction = one_hot[labels], one_hot[predictions]
    weights = counts.astype(np.float64)
    true_positives = weights @ (is_label * is_prediction)
    occurrences = weights @ (is_label + is_prediction)
    with np.errstate(invalid="ignore"):
        f1 = 2 * true_positives / occurrences
    return true_positives.sum(axis=1) / weights.sum(axis=1), np.nanmean(f1, axis=1)
