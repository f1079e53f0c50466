"""The trainings of a comparison: a rival's learning rate is chosen on validation, then it is trained with every seed."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transformer.config import schema
from transformer.config.comparison import Comparison
from transformer.config.errors import UsageError
from transformer.config.load import differing_keys, dump_config, load_config
from transformer.evaluation.evaluate import predict_split
from transformer.files import write_whole
from transformer.training.run_directory import check_data

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

    def finish(self, fingerprint: str, train: Train, tell: Callable[[str], None]) -> None:
        """Train, on data of such a fingerprint, unless that was done.

        Raises UsageError where the directory belongs to another config or to other data.
        """
        if (self.directory / "summary.json").exists():
            if keys := differing_keys(load_config(self.directory / "config.yaml"), self.config):
                raise UsageError(
                    f"{self.directory} was trained with another config ({', '.join(keys)} differ); remove it or say another --output"
                )
            check_data(self.directory, fingerprint, f"remove {self.directory}, or say another --output")
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


@dataclass(frozen=True)
class Chosen:
    """A rival at the learning rate that validation chose."""

    search: list[dict[str, float]]
    """{"learning_rate", "validation_accuracy"} of each rate that was tried."""
    trainings: list[Training]
    """At the best of them, one a seed."""


def train_rival(
    comparison: Comparison, config: schema.Config, fingerprint: str, output: Path, train: Train, tell: Callable[[str], None]
) -> Chosen:
    """Try each learning rate with the first seed, take the one with the best validation accuracy, and train it with the other seeds.

    What lies finished under `output` is not trained again.
    """

    def finished(rate: float, seed: int) -> Training:
        training = _training(output, config, rate, seed)
        training.finish(fingerprint, train, tell)
        return training

    tried = [finished(rate, comparison.seeds[0]) for rate in comparison.learning_rates]
    search = [
        {"learning_rate": training.config.optimizer.learning_rate, "validation_accuracy": training.summary["validation"]["accuracy"]}
        for training in tried
    ]
    best = int(np.argmax([found["validation_accuracy"] for found in search]))
    return Chosen(search, [tried[best], *(finished(comparison.learning_rates[best], seed) for seed in comparison.seeds[1:])])


def _training(output: Path, config: schema.Config, rate: float, seed: int) -> Training:
    directory = output / "runs" / config.name.split("/")[-1] / f"learning_rate-{rate:g}-seed-{seed}"
    optimizer = config.optimizer.model_copy(update={"learning_rate": rate})
    name = f"{config.name}/{directory.name}"
    return Training(config.model_copy(update={"optimizer": optimizer, "seed": seed, "name": name}), directory)
