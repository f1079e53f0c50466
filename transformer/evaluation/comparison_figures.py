"""What a comparison's trainings reached, as report.json has it."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean, median
from typing import Any

import numpy as np
from jaxtyping import Bool
from scipy import stats

from transformer.config import schema
from transformer.data.batching import TrainingBatches, batch_shapes
from transformer.data.dataset import Dataset
from transformer.evaluation.bootstrap import paired_bootstrap_of_means
from transformer.evaluation.comparison_trainings import Chosen, Training

FLOOR = "TF-IDF + logistic regression"


def data_figures(config: schema.Config, dataset: Dataset) -> dict[str, Any]:
    """What every rival read."""
    return {
        "name": config.name.split("/")[0],
        **{name: len(split) for name, split in dataset.splits.items()},
        "classes": len(dataset.labels),
        "maximum_length": config.data.maximum_length,
        "mean_tokens": float(dataset.train.lengths.mean()),
    }


def chosen_figures(chosen: Chosen, tested: Sequence[dict[str, float]], dataset: Dataset, target: float) -> dict[str, Any]:
    """A rival's search, its runs, and their means and spreads over seeds.

    Args:
        tested: the scores on test of each of its trainings.
        target: the validation accuracy whose time is told.
    """
    runs = [_run_figures(training, test, dataset, target) for training, test in zip(chosen.trainings, tested, strict=True)]
    return {
        "learning_rate": chosen.trainings[0].config.optimizer.learning_rate,
        "search": chosen.search,
        "runs": runs,
        **_over_seeds(runs),
    }


def floor_figures(floor: dict[str, Any]) -> dict[str, Any]:
    """The row of the bag of words, from its figures."""
    return {
        "name": FLOOR,
        "family": "bag of words",
        "terms": floor["terms"],
        "description": (
            f"scikit-learn: {floor['features']:,} terms of the whole texts, dampened counts, C = {floor['C']:g} chosen on validation; "
            "the seconds are those of the whole search"
        ),
        "parameters": None,
        "learning_rate": None,
        "search": [],
        "runs": [],
        "accuracy": {"mean": floor["test"]["accuracy"], "low": None, "high": None},
        "macro_f1": {"mean": floor["test"]["macro_f1"], "low": None, "high": None},
        "real_tokens_per_second": None,
        "train_seconds": {"median": floor["seconds"], "low": floor["seconds"], "high": floor["seconds"]},
        "compile_seconds": None,
        "peak_bytes": None,
        "seconds_to_target": None,
    }


def pair_figures(correct: Mapping[str, Bool[np.ndarray, "trainings examples"]]) -> list[dict[str, Any]]:
    """The difference of each two rivals, by which of the test examples each of their trainings predicted rightly."""
    pairs = []
    for a, b in combinations(correct, 2):
        difference = paired_bootstrap_of_means(correct[a], correct[b])
        pairs.append({"a": a, "b": b, "p": difference.pop("p_value"), **difference})
    return pairs


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean of shares over seeds, and its 95 % confidence interval by Student's t within [0, 1]; the interval is None for a single value."""
    mean = fmean(values)
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None}
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return {"mean": mean, "low": max(mean - half, 0.0), "high": min(mean + half, 1.0)}


def spread(values: Sequence[float | int | None]) -> dict[str, float | int] | None:
    """Median, lowest and highest; None where any value is missing."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return None
    return {"median": median(known), "low": min(known), "high": max(known)}


def _run_figures(training: Training, test: dict[str, float], dataset: Dataset, target: float) -> dict[str, Any]:
    config, summary = training.config, training.summary
    shapes = batch_shapes(dataset.train.lengths, config.batching, config.data.maximum_length)
    batches = TrainingBatches(dataset.train, dataset.special, shapes, config.seed)
    lines = map(json.loads, (training.directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    curve = [
        {
            "step": line["step"],
            "epoch": line["step"] / batches.steps_per_epoch,
            "real_tokens": batches.tokens(line["step"])[0],
            "seconds": _training_seconds(line["seconds"]),
            "accuracy": line["accuracy"],
            "loss": line["loss"],
        }
        for line in lines
        if line["split"] == "validation"
    ]
    seconds = summary["seconds"]
    train = _training_seconds(seconds)
    return {
        "seed": config.seed,
        "test": test,
        "validation": summary["validation"],
        "seconds": {"train": train, "compile": seconds.get("compile", 0.0), "total": seconds["total"]},
        "real_tokens": summary["tokens"]["real"],
        "real_tokens_per_second": summary["tokens"]["real"] / train,
        "peak_bytes": summary["peak_bytes"],
        "curve": curve,
        "seconds_to_target": next((point["seconds"] for point in curve if point["accuracy"] >= target), None),
    }


def _training_seconds(seconds: dict[str, float]) -> float:
    """Of steps and of waiting for batches; without compilation and evaluation."""
    return seconds["train"] + seconds.get("wait", 0.0)


def _over_seeds(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "accuracy": interval([run["test"]["accuracy"] for run in runs]),
        "macro_f1": interval([run["test"]["macro_f1"] for run in runs]),
        "real_tokens_per_second": spread([run["real_tokens_per_second"] for run in runs]),
        "train_seconds": spread([run["seconds"]["train"] for run in runs]),
        "compile_seconds": spread([run["seconds"]["compile"] for run in runs]),
        "peak_bytes": spread([run["peak_bytes"] for run in runs]),
        "seconds_to_target": spread([run["seconds_to_target"] for run in runs]),
    }
