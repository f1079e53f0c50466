"""A comparison of models: which trainings it needs, what they reached, and what follows."""

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from scipy import stats

from transformer.config import schema
from transformer.config.comparison import Comparison
from transformer.config.errors import UsageError
from transformer.config.load import differing_keys, dump_config, load_config
from transformer.data.batching import TrainingBatches, batch_shapes
from transformer.data.dataset import Dataset, load_dataset
from transformer.evaluation.bag_of_words import bag_of_words
from transformer.evaluation.bootstrap import paired_bootstrap_of_means
from transformer.evaluation.evaluate import predict_split
from transformer.evaluation.machine import provenance
from transformer.evaluation.metrics import scores
from transformer.host import write_whole
from transformer.training.experiment import count_parameters
from transformer.training.initialization import complete_config
from transformer.training.models import abstract_model

FLOOR = "TF-IDF + logistic regression"
PARAMETER_TOLERANCE = 0.05
"""How far the non-embedding parameters of two rivals may be apart."""

MAY_DIFFER = ("name", "model.", "objective.token_masking", "optimizer.learning_rate", "seed")
"""What two rivals may differ in: these keys, and those that begin with `model.`, but not the size of the embeddings."""

Train = Callable[[Path, Path], None]
"""(config file, run directory): trains, or goes on, until the run's summary.json is there."""


@dataclass(frozen=True)
class Training:
    """One training of a rival."""

    config: schema.Config
    directory: Path

    @property
    def summary(self) -> dict[str, Any]:
        """The figures of the finished run."""
        figures: dict[str, Any] = json.loads((self.directory / "summary.json").read_text(encoding="utf-8"))
        return figures

    def finish(self, train: Train, tell: Callable[[str], None]) -> None:
        """Train unless that was done.

        Raises UsageError where the directory belongs to another config.
        """
        if (self.directory / "summary.json").exists():
            if keys := differing_keys(load_config(self.directory / "config.yaml"), self.config):
                raise UsageError(
                    f"{self.directory} was trained with another config ({', '.join(keys)} differ); remove it or say another --output"
                )
            return
        file = self.directory.with_name(f"{self.directory.name}.yaml")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, dump_config(self.config))
        tell(f"training {self.config.name}")
        train(file, self.directory)

    def test_predictions(self, tell: Callable[[str], None]) -> np.ndarray:
        """Probabilities on test [examples, classes], predicted once and then kept."""
        file = self.directory / "test_probabilities.npy"
        if not file.exists():
            content = io.BytesIO()
            np.save(content, predict_split(self.directory, "test", tell).probabilities)
            write_whole(file, content.getvalue())
        probabilities: np.ndarray = np.load(file)
        return probabilities


def load_rivals(comparison: Comparison, beside: Path) -> dict[str, schema.Config]:
    """The rivals' configs, each with the comparison's settings; test data are not read in training.

    Raises UsageError for a config that is wrong or not of a classifier, and for rivals that do not have the same data, tokens, batches and
    epochs.
    """
    rivals = {}
    for name, rival in comparison.rivals.items():
        settings = [*comparison.settings, *rival.settings, f"name={comparison.name}/{name}", "training.evaluate_test=false"]
        config = load_config(beside / rival.config, settings)
        if not isinstance(config.objective, schema.Classification):
            raise UsageError(
                f"{name} is no classifier: its objective is {config.objective.kind}; a comparison counts right labels, so name a config "
                f"with objective.kind=classification as rivals.{name}.config (it may start from other weights: model.initialize_from)"
            )
        rivals[name] = complete_config(config)
    first, *others = rivals
    for name in others:
        keys = differing_keys(rivals[first], rivals[name])
        unequal = [key for key in keys if not key.startswith(MAY_DIFFER) or key == "model.width"]
        if unequal:
            raise UsageError(
                f"a comparison would not be fair: {first} and {name} differ in {', '.join(unequal)}; set that for all, under settings:"
            )
    return rivals


def run_comparison(
    comparison: Comparison, rivals: dict[str, schema.Config], output: Path, train: Train, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Train what is missing, choose each rival's learning rate on validation, test once, and put all figures together (report.json).

    Raises UsageError where rivals are unequal in size, or the data have no validation or test rows.
    """
    some = next(iter(rivals.values()))
    dataset = load_dataset(some, tell)
    parameters = {name: _parameters(config, dataset) for name, config in rivals.items()}
    check_sizes({name: counted["without_embeddings"] for name, counted in parameters.items()})
    tell(f"fitting {FLOOR}")
    floor, floor_probabilities = bag_of_words(some, dataset, tell)
    target = comparison.target_accuracy or floor["validation"]["accuracy"]

    chosen: dict[str, list[Training]] = {}
    searches: dict[str, list[dict[str, float]]] = {}
    for name, config in rivals.items():
        tried = [_training(output, config, rate, comparison.seeds[0]) for rate in comparison.learning_rates]
        for training in tried:
            training.finish(train, tell)
        searches[name] = [
            {"learning_rate": training.config.optimizer.learning_rate, "validation_accuracy": training.summary["validation"]["accuracy"]}
            for training in tried
        ]
        best = tried[int(np.argmax([found["validation_accuracy"] for found in searches[name]]))]
        rate = best.config.optimizer.learning_rate
        chosen[name] = [best, *(_training(output, config, rate, seed) for seed in comparison.seeds[1:])]
        for training in chosen[name]:
            training.finish(train, tell)

    # Only now, all choices made, are the test rows read.
    assert dataset.test is not None
    labels = np.asarray(dataset.test.labels)
    probabilities = {name: [training.test_predictions(tell) for training in trainings] for name, trainings in chosen.items()}
    figures = []
    for name, trainings in chosen.items():
        runs = [
            _run_figures(training, scores(predicted, labels), dataset, target)
            for training, predicted in zip(trainings, probabilities[name], strict=True)
        ]
        figures.append(
            {
                "name": name,
                "family": comparison.rivals[name].family,
                "description": comparison.rivals[name].description,
                "parameters": parameters[name],
                "settings": ", ".join(comparison.rivals[name].settings),
                "learning_rate": trainings[0].config.optimizer.learning_rate,
                "search": searches[name],
                "runs": runs,
                **_over_seeds(runs),
            }
        )
    figures.append(_floor_figures(floor))
    probabilities[FLOOR] = [floor_probabilities]
    correct = {name: np.stack([predicted.argmax(1) == labels for predicted in each]) for name, each in probabilities.items()}
    names = list(correct)
    pairs = []
    for place, a in enumerate(names):
        for b in names[place + 1 :]:
            difference = paired_bootstrap_of_means(correct[a], correct[b])
            pairs.append({"a": a, "b": b, "p": difference.pop("p_value"), **difference})
    return {
        "kind": "comparison",
        "name": comparison.name,
        **provenance(),
        "data": {
            "name": some.name.split("/")[0],
            **{name: len(split) for name in ("train", "validation", "test") if (split := getattr(dataset, name)) is not None},
            "classes": len(dataset.labels),
            "maximum_length": some.data.maximum_length,
            "mean_tokens": float(dataset.train.lengths.mean()),
        },
        "budget": {"epochs": some.training.epochs, "seeds": comparison.seeds, "learning_rates": comparison.learning_rates},
        "target_accuracy": target,
        "rivals": figures,
        "pairs": pairs,
    }


def check_sizes(sizes: dict[str, int]) -> None:
    """Raises UsageError where the largest and the smallest number of non-embedding parameters are more than 5 % apart."""
    smallest, largest = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    if sizes[largest] > sizes[smallest] * (1 + PARAMETER_TOLERANCE):
        raise UsageError(
            f"a comparison would not be fair: {largest} has {sizes[largest]:,} parameters beside the embeddings and {smallest} "
            f"{sizes[smallest]:,}; bring them within {PARAMETER_TOLERANCE:.0%}, by model.hidden in a rival's config, for example"
        )


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


def _training(output: Path, config: schema.Config, rate: float, seed: int) -> Training:
    directory = output / "runs" / config.name.split("/")[-1] / f"learning_rate-{rate:g}-seed-{seed}"
    optimizer = config.optimizer.model_copy(update={"learning_rate": rate})
    name = f"{config.name}/{directory.name}"
    return Training(config.model_copy(update={"optimizer": optimizer, "seed": seed, "name": name}), directory)


def _parameters(config: schema.Config, dataset: Dataset) -> dict[str, int]:
    return count_parameters(abstract_model(config, dataset.tokenizer, dataset.labels)[1])


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


def _floor_figures(floor: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": FLOOR,
        "family": "bag of words",
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
