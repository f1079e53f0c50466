"""The paired bootstrap says what the statistics books say of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import accuracy_score, f1_score

from transformer.evaluation.bootstrap import paired_bootstrap, paired_bootstrap_of_means


def two_models(seed: int, examples: int, classes: int, accuracy: float, baseline_accuracy: float) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, examples)

    def predict(share: float) -> np.ndarray:
        return np.where(generator.random(examples) < share, labels, generator.integers(0, classes, examples))

    return labels, predict(accuracy), predict(baseline_accuracy)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 9))
def test_the_differences_are_scikit_learns(seed: int, examples: int, classes: int) -> None:
    labels, predictions, baseline = two_models(seed, examples, classes, 0.6, 0.5)
    result = paired_bootstrap(labels, predictions, baseline, classes)
    f1, baseline_f1 = (f1_score(labels, predicted, average="macro", zero_division=0.0) for predicted in (predictions, baseline))
    assert result["macro_f1"]["difference"] == pytest.approx(f1 - baseline_f1)
    difference = accuracy_score(labels, predictions) - accuracy_score(labels, baseline)
    assert result["accuracy"]["difference"] == pytest.approx(difference)


def test_the_interval_is_scipys() -> None:
    """SciPy draws examples, we draw counts of outcomes: the same percentile interval, up to the noise of 10,000 draws."""
    labels, predictions, baseline = two_models(0, 500, 4, 0.8, 0.7)

    def difference(labels: np.ndarray, predictions: np.ndarray, baseline: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(labels == predictions, axis=axis) - np.mean(labels == baseline, axis=axis)

    data = (labels, predictions, baseline)
    scipys = bootstrap(data, difference, paired=True, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1))
    ours = paired_bootstrap(*data, 4)["accuracy"]
    assert (ours["low"], ours["high"]) == pytest.approx(tuple(scipys.confidence_interval), abs=0.004)


def test_macro_f1_interval_is_scipys() -> None:
    labels, predictions, baseline = two_models(3, 200, 3, 0.8, 0.7)

    def difference(labels: np.ndarray, predictions: np.ndarray, baseline: np.ndarray) -> float:
        return f1_score(labels, predictions, average="macro") - f1_score(labels, baseline, average="macro")

    data = (labels, predictions, baseline)
    scipys = bootstrap(data, difference, paired=True, vectorized=False, method="percentile", n_resamples=500, rng=np.random.default_rng(1))
    ours = paired_bootstrap(*data, 3)["macro_f1"]
    assert (ours["low"], ours["high"]) == pytest.approx(tuple(scipys.confidence_interval), abs=0.015)


def test_the_p_value_is_near_the_exact_tests() -> None:
    """For accuracy McNemar's exact test is the known answer: it counts only the examples on which the models disagree."""
    labels = np.zeros(1000, np.int32)
    predictions, baseline = np.repeat([0, 1, 0, 1], [60, 40, 800, 100]), np.repeat([1, 0, 0, 1], [60, 40, 800, 100])
    exact = binomtest(60, 100).pvalue
    assert paired_bootstrap(labels, predictions, baseline, 2)["accuracy"]["p_value"] == pytest.approx(exact, rel=0.25)


def test_equal_models_do_not_differ() -> None:
    labels, predictions, _ = two_models(0, 100, 3, 0.7, 0.7)
    result = paired_bootstrap(labels, predictions, predictions, 3)
    for name in ("accuracy", "macro_f1"):
        assert result[name] == {"difference": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0}


def test_chance_is_called_significant_one_time_in_twenty() -> None:
    """Of 200 pairs of equally good models about 5 % lie below p = 0.05; up to 9.6 % is within three standard errors."""
    p_values = [paired_bootstrap(*two_models(seed, 300, 2, 0.8, 0.8), 2)["accuracy"]["p_value"] for seed in range(200)]
    assert 0.01 < np.mean(np.array(p_values) < 0.05) < 0.096


@pytest.mark.parametrize("seed", range(5))
def test_interval_and_p_value_never_contradict(seed: int) -> None:
    labels, predictions, baseline = two_models(seed, 400, 3, 0.80, 0.74)
    for name, measured in paired_bootstrap(labels, predictions, baseline, 3).items():
        if name in {"accuracy", "macro_f1"} and abs(measured["p_value"] - 0.05) > 0.002:
            assert (measured["p_value"] < 0.05) == (measured["low"] > 0 or measured["high"] < 0)


def test_swapping_the_models_turns_the_sign() -> None:
    labels, predictions, baseline = two_models(0, 300, 3, 0.8, 0.7)
    forward, backward = paired_bootstrap(labels, predictions, baseline, 3), paired_bootstrap(labels, baseline, predictions, 3)
    for name in ("accuracy", "macro_f1"):
        assert forward[name]["difference"] == pytest.approx(-backward[name]["difference"])
        assert forward[name]["low"] == pytest.approx(-backward[name]["high"], abs=0.005)


def test_the_same_predictions_give_the_same_figures() -> None:
    data = two_models(0, 300, 3, 0.8, 0.7)
    assert paired_bootstrap(*data, 3) == paired_bootstrap(*data, 3)


def test_thirds_tie_as_wholes_do() -> None:
    """From 0 to 1/3, 1/3 to 2/3 and 2/3 to 1 it is as far, though not in floating point; draws in which models are level are ties."""
    better, worse = np.repeat([1, 2, 3], 4), np.array([0, 1, 2, 2])
    right = np.concatenate([better, worse, np.full(284, 3)])
    baseline_right = np.concatenate([better - 1, worse + 1, np.full(284, 3)])
    trainings = np.arange(3)[:, None]
    thirds = paired_bootstrap_of_means(trainings < right, trainings < baseline_right)
    wholes = paired_bootstrap_of_means((right >= baseline_right)[None], (right <= baseline_right)[None])
    assert thirds["p_value"] == wholes["p_value"]
    for name in ("difference", "low", "high"):
        assert 3 * thirds[name] == pytest.approx(wholes[name])


def test_a_model_trained_once_is_its_own_mean() -> None:
    """Three trainings against one, as networks are against the floor; the one told three times changes nothing."""
    generator = np.random.default_rng(0)
    three, one = generator.random((3, 400)) < 0.8, generator.random((1, 400)) < 0.7
    measured = paired_bootstrap_of_means(three, one)
    assert measured["difference"] == pytest.approx(three.mean() - one.mean())
    assert measured == pytest.approx(paired_bootstrap_of_means(three, np.repeat(one, 3, axis=0)))


def test_with_one_training_each_the_bootstrap_is_the_paired_one() -> None:
    generator = np.random.default_rng(0)
    labels, one, other = (generator.integers(0, 2, 400) for _ in range(3))
    of_means = paired_bootstrap_of_means((one == labels)[None], (other == labels)[None])
    pairwise = paired_bootstrap(labels, one, other, 2)["accuracy"]
    assert of_means["difference"] == pytest.approx(pairwise["difference"])
    assert of_means["low"] == pytest.approx(pairwise["low"], abs=0.01)
    assert of_means["high"] == pytest.approx(pairwise["high"], abs=0.01)
