"""A comparison's trainings: fair, chosen on validation, tested once, and never repeated."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from transformer.config.comparison import Comparison
from transformer.config.errors import UsageError
from transformer.config.load import dump_config, load_config
from transformer.evaluation import comparison as module
from transformer.evaluation.bootstrap import paired_bootstrap, paired_bootstrap_of_means
from transformer.evaluation.comparison import FLOOR, Training, check_sizes, interval, load_rivals, run_comparison
from transformer.evaluation.metrics import scores
from transformer.training.loop import train as train_here

LETTERS = [f"{first}{second}" for first in "abcdefgh" for second in "xyz"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("comparison")
    generator = np.random.default_rng(0)
    for name, rows in (("train", 120), ("test", 30)):
        texts = [" ".join([*generator.choice(LETTERS, 6), ("north", "south")[row % 2]]) for row in range(rows)]
        lines = [f"{text},{('n', 's')[row % 2]}" for row, text in enumerate(texts)]
        (directory / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    source = {"kind": "files", **{name: [{"path": str(directory / f"{name}.csv")}] for name in ("train", "test")}}
    base = {
        "name": "base",
        "data": {"source": source, "maximum_length": 16},
        "batching": {"tokens": 256, "length_groups": 1},
        "training": {"epochs": 1, "checkpoint_every": 1000},
    }
    models = {
        "transformer": {"kind": "transformer", "width": 8, "heads": 2, "layers": 1, "feed_forward": 16},
        "rnn": {"kind": "rnn", "width": 8, "layers": 1, "hidden": 20},
    }
    for name, model in models.items():
        (directory / f"{name}.yaml").write_text(json.dumps({**base, "model": model}))
    return directory


def comparison(**changes):
    rivals = {name: {"config": f"{name}.yaml", "family": "attention", "description": name} for name in ("transformer", "rnn")}
    return Comparison.model_validate({"name": "tiny", "rivals": rivals, "learning_rates": [1e-3, 1e-1], "seeds": [0, 1], **changes})


@pytest.mark.parametrize(("key", "values", "once"), [("seeds", [0, 1, 0], r"\[0, 1\]"), ("learning_rates", [0.1, 0.1], r"\[0\.1\]")])
def test_no_training_counts_twice(key, values, once):
    with pytest.raises(ValidationError, match=f"has one twice; write {key}={once}"):
        comparison(**{key: values})


def test_a_study_tests_once_at_the_end_and_repeats_no_training(directory, tmp_path, monkeypatch):
    events = []

    def train(file, run):
        events.append("train")
        summary = train_here(load_config(file), run, score=scores)
        assert summary["test"] is None

    predict = module.predict_split

    def watched(run, split, tell):
        events.append(split)
        return predict(run, split, tell)

    monkeypatch.setattr(module, "predict_split", watched)
    alone = {"rnn": {"config": "rnn.yaml", "family": "recurrence", "description": "alone, to save time"}}
    settings = comparison(rivals=alone)
    rivals = load_rivals(settings, directory)
    figures = run_comparison(settings, rivals, tmp_path, train, lambda _: None)
    assert events == ["train"] * 3 + ["test"] * 2  # two rates, and one more seed at the better one
    rival, floor = figures["rivals"]
    assert (rival["name"], floor["name"]) == ("rnn", FLOOR)
    best = max(rival["search"], key=lambda found: found["validation_accuracy"])
    assert rival["learning_rate"] == best["learning_rate"]
    assert [run["seed"] for run in rival["runs"]] == [0, 1]
    assert all(point["real_tokens"] > 0 and point["seconds"] > 0 for run in rival["runs"] for point in run["curve"])
    assert len(figures["pairs"]) == 1
    again = run_comparison(settings, rivals, tmp_path, train, lambda _: None)
    assert len(events) == 5
    assert again["pairs"] == figures["pairs"]

    changed = load_rivals(comparison(rivals=alone, settings=["training.epochs=2"]), directory)
    with pytest.raises(UsageError, match=r"training\.epochs"):
        run_comparison(settings, changed, tmp_path, train, lambda _: None)


def test_rivals_that_would_not_be_equal_are_named(directory):
    rivals = {name: {"config": f"{name}.yaml", "family": "recurrence", "description": name} for name in ("rnn", "other")}
    for section, key, value in (("training", "epochs", 9), ("model", "width", 16)):
        (directory / "other.yaml").write_text(json.dumps({"extends": "rnn.yaml", section: {key: value}}))
        with pytest.raises(UsageError, match=rf"rnn and other differ in {section}\.{key}"):
            load_rivals(comparison(rivals=rivals), directory)
    with pytest.raises(UsageError, match=r"large has 106 .* small 100"):
        check_sizes({"small": 100, "large": 106})
    check_sizes({"small": 100, "large": 105})


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("masked_language_model", {}), ("contrastive", {"data": {"text": ["text", "label"]}})],
    ids=["masked", "contrastive"],
)
def test_a_rival_that_is_no_classifier_is_named_before_any_training(directory, kind, changes):
    (directory / "other.yaml").write_text(json.dumps({"extends": "transformer.yaml", "objective": {"kind": kind}, **changes}))
    alone = {"mine": {"config": "other.yaml", "family": "attention", "description": "alone"}}
    with pytest.raises(UsageError, match=rf"mine is no classifier: its objective is {kind}; .* rivals\.mine\.config"):
        load_rivals(comparison(rivals=alone), directory)


def test_predictions_that_a_kill_cut_short_are_made_again(directory, tmp_path, monkeypatch):
    probabilities = np.eye(4)
    monkeypatch.setattr(module, "predict_split", lambda *_: SimpleNamespace(probabilities=probabilities))
    save, training = np.save, Training(load_config(directory / "rnn.yaml"), tmp_path)

    def save_and_die(file, array):
        save(file, array[:1])  # what reached the disk
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        training.test_predictions(print)
    monkeypatch.setattr(np, "save", save)
    for _ in range(2):  # made, then read
        np.testing.assert_array_equal(training.test_predictions(print), probabilities)
    assert [path.name for path in tmp_path.iterdir()] == ["test_probabilities.npy"]


def test_the_interval_is_that_of_the_table():
    # Student's t with 2 degrees of freedom: 4.303 (any table); standard error of 0.4, 0.5, 0.6 is 0.1 / sqrt(3).
    found = interval([0.4, 0.5, 0.6])
    assert found["mean"] == 0.5
    assert found["high"] - 0.5 == pytest.approx(0.1 * 4.303 / 3**0.5, rel=1e-3)
    assert found["low"] == pytest.approx(1 - found["high"])
    assert interval([0.5]) == {"mean": 0.5, "low": None, "high": None}


@pytest.mark.parametrize("values", [[0.97, 0.985], [0.03, 0.015]])
def test_an_interval_of_shares_holds_shares(values):
    found = interval(values)
    assert 0 <= found["low"] < found["mean"] < found["high"] <= 1


def test_with_one_training_each_the_bootstrap_is_the_paired_one():
    generator = np.random.default_rng(0)
    labels, one, other = (generator.integers(0, 2, 400) for _ in range(3))
    of_means = paired_bootstrap_of_means((one == labels)[None], (other == labels)[None])
    pairwise = paired_bootstrap(labels, one, other, 2)["accuracy"]
    assert of_means["difference"] == pytest.approx(pairwise["difference"])
    assert of_means["low"] == pytest.approx(pairwise["low"], abs=0.01)
    assert of_means["high"] == pytest.approx(pairwise["high"], abs=0.01)


def test_a_rival_may_have_settings_of_its_own_but_no_advantage(directory):
    def with_settings(*own):
        rivals = {name: {"config": f"{name}.yaml", "family": "recurrence", "description": name} for name in ("transformer", "rnn")}
        rivals["rnn"]["settings"] = list(own)
        return load_rivals(comparison(rivals=rivals, settings=["model.dropout=0.3"]), directory)

    rivals = with_settings("model.dropout=0.1", "objective.token_masking=0.2")
    assert (rivals["transformer"].model.dropout, rivals["rnn"].model.dropout) == (0.3, 0.1)
    assert (rivals["transformer"].objective.token_masking, rivals["rnn"].objective.token_masking) == (0.0, 0.2)
    with pytest.raises(UsageError, match=r"transformer and rnn differ in training\.epochs"):
        with_settings("training.epochs=2")


def test_the_configs_of_the_repository_are_fair(pytestconfig):
    root = pytestconfig.rootpath / "configs" / "compare"
    from transformer.config.load import load_yaml_as

    files = sorted(root.glob("*.yaml"))
    assert files
    for file in files:
        rivals = load_rivals(load_yaml_as(Comparison, file), root)
        assert len({dump_config(config.data) for config in rivals.values()}) == 1
