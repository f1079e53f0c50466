"""A comparison's trainings: fair, chosen on validation, tested once, and never repeated."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from transformer.config import schema
from transformer.config.comparison import Comparison
from transformer.config.errors import UsageError
from transformer.config.load import dump_config, load_config
from transformer.data.dataset import load_dataset
from transformer.evaluation import comparison_trainings as module
from transformer.evaluation.bag_of_words import bag_of_words
from transformer.evaluation.comparison import load_rivals, run_comparison
from transformer.evaluation.comparison_figures import FLOOR
from transformer.evaluation.comparison_trainings import Training
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
    rivals = {name: {"config": f"{name}.yaml", "description": name} for name in ("transformer", "rnn")}
    return Comparison.model_validate({"name": "tiny", "rivals": rivals, "learning_rates": [1e-3, 1e-1], "seeds": [0, 1], **changes})


def test_the_floor_gives_a_class_without_a_training_row_no_probability(directory):
    """A hub's data set names classes of which it may have no row; scikit-learn's model has no column for them."""
    config = load_config(directory / "rnn.yaml")
    dataset = load_dataset(config, print)
    known = bag_of_words(config, dataset, lambda _: None)[1]
    splits = {name: replace(split, labels=2 * split.labels) for name, split in dataset.splits.items()}
    figures, wider = bag_of_words(config, replace(dataset, labels=["n", "neither", "s"], **splits), lambda _: None)
    np.testing.assert_array_equal(wider, np.insert(known, 1, 0.0, axis=1))
    assert figures["test"]["accuracy"] > 0.9


@pytest.mark.parametrize(("key", "values", "once"), [("seeds", [0, 1, 0], r"\[0, 1\]"), ("learning_rates", [0.1, 0.1], r"\[0\.1\]")])
def test_no_training_counts_twice(key, values, once):
    with pytest.raises(ValidationError, match=f"has one twice; write {key}={once}"):
        comparison(**{key: values})


def test_a_study_tests_once_at_the_end_and_repeats_no_training(directory, tmp_path, monkeypatch):
    events = []

    def train(file, run):
        events.append("train")
        summary = train_here(load_config(file), run)
        assert summary["test"] is None

    predict = module.predict_split

    def watched(run, split, tell):
        events.append(split)
        return predict(run, split, tell)

    monkeypatch.setattr(module, "predict_split", watched)
    alone = {"rnn": {"config": "rnn.yaml", "description": "alone, to save time"}}
    settings = comparison(rivals=alone)
    rivals = load_rivals(settings, directory, print)
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

    changed = load_rivals(comparison(rivals=alone, settings=["training.epochs=2"]), directory, print)
    with pytest.raises(UsageError, match=r"training\.epochs"):
        run_comparison(settings, changed, tmp_path, train, lambda _: None)


def test_letters_that_stand_alone_are_words_where_there_are_no_others(tmp_path):
    rows = [f"{'A C G' if row % 2 else 'T T A'},{row % 2}" for row in range(60)]
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
    source = {"kind": "files", **{name: [{"path": str(tmp_path / f"{name}.csv")}] for name in ("train", "test")}}
    config = schema.Config.model_validate({"name": "letters", "data": {"source": source, "maximum_length": 16}})
    figures, _ = bag_of_words(config, load_dataset(config, print), print)
    assert (figures["terms"], figures["test"]["accuracy"]) == ("words", 1.0)


def test_where_the_tokenizer_splits_into_characters_so_does_the_floor(tmp_path):
    """Texts of the same letters, told apart by which stands beside which: more than single characters can tell."""
    rows = [f"{'abab' if row % 2 else 'aabb'},{row % 2}" for row in range(60)]
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
    source = {"kind": "files", **{name: [{"path": str(tmp_path / f"{name}.csv")}] for name in ("train", "test")}}
    settings = {"name": "letters", "data": {"source": source, "maximum_length": 16}, "tokenizer": {"kind": "character"}}
    config = schema.Config.model_validate(settings)
    figures, _ = bag_of_words(config, load_dataset(config, print), print)
    assert (figures["terms"], figures["features"], figures["test"]["accuracy"]) == ("characters", 2 + 4, 1.0)


def test_rivals_that_would_not_be_equal_are_named(directory):
    rivals = {name: {"config": f"{name}.yaml", "description": name} for name in ("rnn", "other")}
    for section, key, value in (("training", "epochs", 9), ("model", "width", 16)):
        (directory / "other.yaml").write_text(json.dumps({"extends": "rnn.yaml", section: {key: value}}))
        with pytest.raises(UsageError, match=rf"rnn and other differ in {section}\.{key}"):
            load_rivals(comparison(rivals=rivals), directory, print)


def test_rivals_of_unequal_size_are_named_before_any_training(directory, tmp_path):
    (directory / "other.yaml").write_text(json.dumps({"extends": "rnn.yaml", "model": {"hidden": 22}}))
    settings = comparison(rivals={name: {"config": f"{name}.yaml", "description": name} for name in ("rnn", "other")})
    with pytest.raises(UsageError, match=r"other has [\d,]+ parameters .* rnn has .* within 5%, by model\.hidden"):
        run_comparison(settings, load_rivals(settings, directory, print), tmp_path, lambda *_: pytest.fail("trained"), lambda _: None)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("masked_language_model", {}), ("contrastive", {"data": {"text": ["text", "label"]}})],
    ids=["masked", "contrastive"],
)
def test_a_rival_that_is_no_classifier_is_named_before_any_training(directory, kind, changes):
    (directory / "other.yaml").write_text(json.dumps({"extends": "transformer.yaml", "objective": {"kind": kind}, **changes}))
    alone = {"mine": {"config": "other.yaml", "description": "alone"}}
    with pytest.raises(UsageError, match=rf"mine is no classifier: its objective is {kind}; .* rivals\.mine\.config"):
        load_rivals(comparison(rivals=alone), directory, print)


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


def test_a_rival_may_have_settings_of_its_own_but_no_advantage(directory):
    def with_settings(*own):
        rivals = {name: {"config": f"{name}.yaml", "description": name} for name in ("transformer", "rnn")}
        rivals["rnn"]["settings"] = list(own)
        return load_rivals(comparison(rivals=rivals, settings=["model.dropout=0.3"]), directory, print)

    rivals = with_settings("model.dropout=0.1", "objective.token_masking=0.2", "batching.tokens=2048", "schedule.warmup_steps=3")
    assert (rivals["transformer"].model.dropout, rivals["rnn"].model.dropout) == (0.3, 0.1)
    assert (rivals["transformer"].objective.token_masking, rivals["rnn"].objective.token_masking) == (0.0, 0.2)
    assert rivals["rnn"].batching.tokens == 2048 != rivals["transformer"].batching.tokens
    for setting, key, remedy in (
        ("seed=9", "seed", "seeds:"),
        ("name=mine", "name", "follows from"),
        ("optimizer.learning_rate=1", "optimizer.learning_rate", "learning_rates:"),
        ("optimizer={kind: muon, learning_rate: 0.5}", "optimizer.learning_rate", "learning_rates:"),
        ("training={epochs: 1, evaluate_test: true}", "training.evaluate_test", "at the end"),
    ):
        with pytest.raises(UsageError, match=rf"^rivals\.rnn\.settings: {setting} would set {key} without effect; .*{remedy}"):
            with_settings(setting)
    with pytest.raises(UsageError, match=r"^settings: seed=9 would set seed without effect"):
        load_rivals(comparison(settings=["seed=9"]), directory, print)
    for advantage in ("training.epochs=2", "objective.members=2", "data.maximum_length=12"):
        with pytest.raises(UsageError, match=rf"transformer and rnn differ in {advantage.partition('=')[0]}"):
            with_settings(advantage)


@pytest.mark.parametrize("key", ["maximum_steps", "evaluate_every"])
def test_as_many_steps_of_other_batches_are_not_equal(directory, key):
    """A rival with half the tokens a batch would read half the texts, or have its best checkpoint picked from twice as many."""

    def rivals(*settings):
        own = {"transformer": [], "rnn": ["batching.tokens=128"]}
        entries = {name: {"config": f"{name}.yaml", "description": name, "settings": own[name]} for name in own}
        return load_rivals(comparison(rivals=entries, settings=list(settings)), directory, print)

    assert rivals("training.early_stopping={patience: 2}")
    with pytest.raises(UsageError, match=rf"differ in batching\.tokens, so that as many steps are .* with training\.{key}=null, under"):
        rivals(f"training.{key}=5")


def test_where_weights_are_fetched_from_is_told(directory, monkeypatch):
    told = []
    monkeypatch.setattr("transformer.evaluation.comparison.complete_config", lambda config, tell: tell("fetching weights") or config)
    load_rivals(comparison(), directory, told.append)
    assert told == ["fetching weights"] * 2


def test_the_configs_of_the_repository_are_fair(pytestconfig):
    root = pytestconfig.rootpath / "configs" / "compare"
    from transformer.config.load import load_yaml_as

    files = sorted(root.glob("*.yaml"))
    assert files
    for file in files:
        rivals = load_rivals(load_yaml_as(Comparison, file), root, print)
        assert len({dump_config(config.data) for config in rivals.values()}) == 1
