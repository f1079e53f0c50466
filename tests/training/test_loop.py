import errno
import itertools
import json
import time

import jax
import numpy as np
import pytest

from tests.training.conftest import metrics_without_seconds
from transformer import host
from transformer.config import schema
from transformer.config.errors import RunError, UsageError
from transformer.data import dataset
from transformer.data.dataset import load_dataset
from transformer.evaluation.evaluate import predict_split
from transformer.evaluation.metrics import scores
from transformer.training import loop
from transformer.training.experiment import build_experiment, total_steps
from transformer.training.loop import train
from transformer.training.objectives.classification import ClassificationEvaluator, ClassificationObjective
from transformer.training.prediction import Predictor
from transformer.training.run import load_run

FIGURES = ("best_step", "steps", "validation", "test", "parameters", "tokens")


def outcome(directory):
    """Everything about a run that must not depend on how often it was stopped."""
    run = load_run(directory)
    summary = json.loads((directory / "summary.json").read_text())
    metrics = metrics_without_seconds(directory)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(run.parameters)], {name: summary[name] for name in FIGURES}, metrics


def assert_same(one, other):
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[1:] == other[1:]


@pytest.fixture(scope="module")
def never_stopped(make_config, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "whole"
    train(make_config(), directory, score=scores)
    return outcome(directory)


def test_learns_and_leaves_what_the_contract_says(make_config, tmp_path):
    config = make_config(training={"epochs": 12})
    summary = train(config, tmp_path / "run", score=scores)
    assert summary["test"]["accuracy"] > 0.9
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.yaml", "environment.json", "tokenizer.json", "labels.json", "checkpoints", "metrics.jsonl", "tensorboard", "summary.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "run" / "labels.json").read_text()) == ["alpha", "beta", "gamma"]
    assert set(summary["seconds"]) >= {"total", "compile", "train", "evaluate", "data"}
    run = load_run(tmp_path / "run")
    test = load_dataset(config).test
    assert scores(run.predictor(test.lengths)(run.parameters, test), test.labels) == pytest.approx(summary["test"], rel=1e-5)


@pytest.mark.parametrize("stops", [[5], [6, 7], [1, 11, 12]])
def test_stopped_by_a_signal_and_resumed_ends_bit_identical(never_stopped, make_config, tmp_path, train_until, stops):
    for before, stop in itertools.pairwise([0, *stops]):
        train_until(stop - before, make_config(), tmp_path / "run")
        assert (tmp_path / "run" / "checkpoints" / str(stop)).exists()
    assert train(make_config(), tmp_path / "run", score=scores, resume="require") is not None
    assert_same(outcome(tmp_path / "run"), never_stopped)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": schema.Recurrent(kind="lstm", width=8, hidden=8, layers=1, bidirectional=True, dropout=0.2, pooling=["attention"])},
        {"model": schema.Recurrent(kind="mingru", width=8, hidden=8, layers=1, dropout=0.2, pooling=["final_state_attention"])},
        {"model": schema.Convolutional(width=8, hidden=8, layers=1, dropout=0.2, pooling=["attention"])},
        {"objective": schema.Classification(members=2, token_masking=0.2)},
    ],
    ids=["bilstm_bahdanau", "mingru", "convolutional", "ensemble"],
)
def test_other_models_resume_exactly_too(make_config, tmp_path, train_until, changed):
    config = make_config(training={"epochs": 2}).model_copy(update=changed)
    train(config, tmp_path / "whole", score=scores)
    train_until(3, config, tmp_path / "run")
    assert train(config, tmp_path / "run", score=scores, resume="require") is not None
    assert_same(outcome(tmp_path / "run"), outcome(tmp_path / "whole"))


def test_a_run_that_ended_is_not_run_again_and_says_so(make_config, tmp_path, monkeypatch, capsys):
    first = train(make_config(), tmp_path / "run", score=scores)
    assert "nothing is trained" not in capsys.readouterr().out
    monkeypatch.setattr(loop, "build_experiment", None)
    assert train(make_config(), tmp_path / "run", score=scores) == first
    assert f"{tmp_path / 'run'} holds this training, finished: nothing is trained" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["file", "unigram"])
def test_a_run_goes_on_with_its_own_tokenizer(make_config, tmp_path, train_until, monkeypatch, kind):
    """The file that it was copied from may be gone, and a unigram tokenizer does not come out the same when it is trained again."""
    config = make_config(tokenizer={"kind": "unigram"})
    original = tmp_path / "tokenizer.json"
    if kind == "file":
        original.write_text(load_dataset(config).tokenizer.to_str())
        config = config.model_copy(update={"tokenizer": schema.TokenizerFile(path=str(original))})
    train_until(1, config, tmp_path / "run")
    original.unlink(missing_ok=True)
    monkeypatch.setenv("ENCODER_TRAINER_CACHE", str(tmp_path / "another cache"))
    monkeypatch.setattr(dataset, "train_tokenizer", None)
    assert train(config, tmp_path / "run", score=scores, resume="require") is not None
    assert len(predict_split(tmp_path / "run", "test", lambda _: None).labels)


def test_another_config_is_refused_by_its_keys_and_harmless_ones_are_not(make_config, tmp_path):
    train(make_config(), tmp_path / "run", score=scores)
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    with pytest.raises(UsageError, match=r"model\.dropout"):
        train(make_config(model={"dropout": 0.3}), tmp_path / "run", score=scores)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before
    assert train(make_config(training={"log_every": 3}), tmp_path / "run", score=scores) is not None


def test_other_data_are_refused_though_the_config_is_the_same(make_config, tables, tmp_path, train_until):
    table = tmp_path / "train.csv"
    table.write_text((tables / "train.csv").read_text())
    config = make_config(data={"source": {"train": [{"path": str(table)}]}})
    train_until(1, config, tmp_path / "run")
    # The same words and labels, so that tokenizer and shapes stay: two rows have changed places.
    first, second, third, *others = table.read_text().splitlines()
    table.write_text("\n".join([first, third, second, *others]) + "\n")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="put the old data back, or name another directory"):
        train(config, tmp_path / "run", score=scores)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    table.write_text((tables / "train.csv").read_text())
    assert train(config, tmp_path / "run", score=scores, resume="require") is not None


@pytest.mark.parametrize(("epochs", "steps"), [(1.1, 11), (1.11, 12), (3, 30), (0.07, 1), (1e-9, 1)])
def test_epochs_are_the_decimal_that_was_written(epochs, steps):
    """1.1 x 10 is 11.000000000000002 in floats."""
    assert total_steps(schema.Training(epochs=epochs), 10) == steps
    assert total_steps(schema.Training(epochs=epochs, maximum_steps=5), 10) == min(steps, 5)


def test_two_processes_do_not_train_in_one_directory(make_config, tmp_path, monkeypatch):
    """The second is told, and changes nothing; once the first has ended, the directory is free."""
    config = make_config(training={"maximum_steps": 2})
    place, told = loop.Experiment.place, []

    def train_again(self, batch):
        if not told:
            told.append(None)
            before = sorted((path, path.stat().st_ino) for path in (tmp_path / "run").iterdir())
            with pytest.raises(UsageError, match=r"another process trains in .*run"):
                train(config, tmp_path / "run", score=scores)
            assert sorted((path, path.stat().st_ino) for path in (tmp_path / "run").iterdir()) == before
        return place(self, batch)

    monkeypatch.setattr(loop.Experiment, "place", train_again)
    assert train(config, tmp_path / "run", score=scores) is not None
    with host.locked(tmp_path / "run"):
        pass


def test_the_speed_that_is_shown_is_that_of_steps_alone(make_config, tmp_path, monkeypatch):
    speeds, evaluate = [], ClassificationEvaluator.__call__

    def slowly(*arguments):
        time.sleep(1.0)
        return evaluate(*arguments)

    monkeypatch.setattr(ClassificationEvaluator, "__call__", slowly)
    monkeypatch.setattr(loop.Logger, "training", lambda logger, step, figures, speed: speeds.append(speed))
    config = make_config(training={"log_every": 1, "evaluate_every": 1, "maximum_steps": 4})
    train(config, tmp_path / "run", score=scores)
    assert len(speeds) == 4
    assert min(speeds) > config.batching.tokens  # with the evaluation before it, a step would take more than a second


def test_a_file_system_without_locks_trains_all_the_same(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(host.fcntl, "flock", no_locks)
    with host.locked(tmp_path):
        pass


def test_a_training_that_goes_on_elsewhere_says_what_changed(make_config, tmp_path, train_until, capsys):
    train_until(4, make_config(), tmp_path / "run")
    stored = tmp_path / "run" / "environment.json"
    environment = json.loads(stored.read_text())
    environment["packages"]["jax"], environment["cores"] = "0.1.0", 64
    stored.write_text(json.dumps(environment))
    capsys.readouterr()
    train_until(3, make_config(), tmp_path / "run")
    said = capsys.readouterr().out
    assert f"changed since: cores 64 -> {host.usable_cores()}, jax 0.1.0 -> {jax.__version__}; the last bits can differ" in said
    train(make_config(), tmp_path / "run", score=scores)
    said = capsys.readouterr().out
    assert "resuming at step" in said
    assert "changed since" not in said


def test_resume_choices(make_config, tmp_path):
    with pytest.raises(UsageError, match="no run to resume"):
        train(make_config(), tmp_path / "none", score=scores, resume="require")
    assert not (tmp_path / "none").exists()
    train(make_config(), tmp_path / "run", score=scores)
    with pytest.raises(UsageError, match="already holds a run"):
        train(make_config(), tmp_path / "run", score=scores, resume="never")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("dear")
    with pytest.raises(UsageError, match="not a run directory"):
        train(make_config(), tmp_path / "other", score=scores)


def test_a_loss_that_is_not_finite_is_named_and_the_last_good_checkpoint_kept(make_config, tmp_path):
    config = make_config(
        optimizer={"learning_rate": 1e30},
        schedule={"kind": "constant"},
        training={"gradient_clip": None, "checkpoint_every": 1, "average_decay": 0.0},
    )
    with pytest.raises(RunError, match=r"not finite at step \d+.*learning rate 1e\+30, batch \d+ of epoch 1"):
        train(config, tmp_path / "run", score=scores)
    kept = [path for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit()]
    assert kept


def test_early_stopping_ends_the_run_at_the_best(make_config, tmp_path):
    config = make_config(training={"epochs": 50, "evaluate_every": 2, "early_stopping": {"patience": 2}})
    summary = train(config, tmp_path / "run", score=scores)
    assert summary["steps"] < build_experiment(config, print).steps
    assert summary["steps"] - summary["best_step"] == 4


def test_compiles_once_for_each_shape(make_config, tmp_path, monkeypatch):
    experiments, evaluators = [], []
    build, make = loop.build_experiment, ClassificationObjective.evaluator
    monkeypatch.setattr(loop, "build_experiment", lambda *arguments: experiments.append(build(*arguments)) or experiments[-1])
    monkeypatch.setattr(ClassificationObjective, "evaluator", lambda *arguments: evaluators.append(make(*arguments)) or evaluators[-1])
    train(make_config(training={"epochs": 8}), tmp_path / "run", score=scores)
    (experiment,) = experiments
    assert len(experiment.batches.shapes) == 2
    assert len(experiment.step.executables) == 2
    assert evaluators[0].predictor.compilations == 2


def test_without_validation_what_measures_test_is_compiled_before(make_config, tmp_path, monkeypatch):
    compiled, call = [], Predictor.__call__

    def counting(self, parameters, split):
        before = self.compilations
        result = call(self, parameters, split)
        compiled.append(self.compilations - before)
        return result

    monkeypatch.setattr(Predictor, "__call__", counting)
    config = make_config(data={"validation_fraction": 0.0}, training={"maximum_steps": 1})
    assert train(config, tmp_path / "run", score=scores)["validation"] is None
    assert compiled == [0]


def test_wrong_warm_up_is_told_before_anything_is_written(make_config, tmp_path):
    with pytest.raises(UsageError, match="warmup_steps"):
        train(make_config(schedule={"warmup_steps": 10_000}), tmp_path / "run", score=scores)
    assert not (tmp_path / "run").exists()
