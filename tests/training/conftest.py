import itertools
import json
import signal

import numpy as np
import pytest

from transformer.config import schema
from transformer.training import loop

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()


def write_table(path, rows, seed):
    """Texts of varied lengths; the label is the word that stands in them most."""
    generator = np.random.default_rng(seed)
    lines = ["text,label"]
    for row in range(rows):
        label = WORDS[row % 3]
        others = generator.choice(WORDS[3:], generator.integers(1, 25))
        lines.append(" ".join(generator.permutation([*others, label, label])) + "," + label)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tables")
    write_table(directory / "train.csv", 120, seed=0)
    write_table(directory / "test.csv", 30, seed=1)
    return directory


def _merge(base, changes):
    return {**base, **{name: _merge(base.get(name, {}), value) if isinstance(value, dict) else value for name, value in changes.items()}}


@pytest.fixture(scope="session")
def make_config(tables):
    """A tiny experiment on real files; keyword arguments change sections of it."""

    def make(**changes):
        base = {
            "name": "tiny",
            "data": {
                "source": {"kind": "files", "train": [{"path": str(tables / "train.csv")}], "test": [{"path": str(tables / "test.csv")}]},
                "validation_fraction": 0.2,
                "maximum_length": 32,
            },
            "tokenizer": {"vocabulary_size": 64, "minimum_frequency": 1},
            "batching": {"tokens": 512, "length_groups": 2},
            "model": {"kind": "transformer", "width": 16, "heads": 2, "layers": 1, "feed_forward": 32, "dropout": 0.2},
            "optimizer": {"learning_rate": 0.01},
            "training": {"epochs": 4, "average_decay": 0.9, "evaluate_every": 6, "checkpoint_every": 5, "log_every": 2},
        }
        return schema.Config.model_validate(_merge(base, changes))

    return make


@pytest.fixture
def train_until(monkeypatch):
    """Trains and has SIGTERM come so that the step of this number, counted from where the training begins, is its last."""

    def train_until(steps, config, directory):
        place, calls = loop.Experiment.place, itertools.count()

        def signalling(self, batch):
            # While a step's batch is handed out, that of the next is placed.
            if next(calls) == steps:
                signal.raise_signal(signal.SIGTERM)
            return place(self, batch)

        with monkeypatch.context() as patch:
            patch.setattr(loop.Experiment, "place", signalling)
            assert loop.train(config, directory) is None

    return train_until


def metrics_without_seconds(directory):
    """All that the figures of a run must be, however often it was stopped."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return sorted((line["step"], line["split"], [item for item in line.items() if item[0] != "seconds"]) for line in lines)
