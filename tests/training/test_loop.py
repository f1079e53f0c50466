import errno
import itertools
import json
import warnings
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx
from orbax.checkpoint import v1 as orbax

from tests.training.conftest import metrics_without_seconds
from transformer import files, host
from transformer.config import schema
from transformer.config.errors import RunError, UsageError
from transformer.data import dataset
from transformer.data.dataset import load_dataset
from transformer.evaluation.evaluate import predict_split
from transformer.model.parameter_paths import flat
from transformer.training import experiment as experiment_module
from transformer.training import loop
from transformer.training.experiment import Stopwatch, build_experiment, total_steps
from transformer.training.loop import train
from transformer.training.metrics import scores
from transformer.training.objectives import classification
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
    train(make_config(), directory)
    return outcome(directory)


def test_learns_and_leaves_what_the_contract_says(make_config, tmp_path):
    config = make_config(training={"epochs": 12})
    summary = train(config, tmp_path / "run")
    assert summary["test"]["accuracy"] > 0.9
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.yaml", "environment.json", "tokenizer.json", "labels.json", "checkpoints", "metrics.jsonl", "tensorboard", "summary.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "run" / "labels.json").read_text()) == ["alpha", "beta", "gamma"]
    assert set(summary["seconds"]) >= {"total", "compile", "train", "evaluate", "data"}
    run = load_run(tmp_path / "run")
    test = load_dataset(config, print).test
    assert scores(run.predictor(test.lengths)(run.parameters, test), test.labels) == pytest.approx(summary["test"], rel=1e-5)


@pytest.mark.parametrize("stops", [[5], [6, 7], [1, 11, 12]])
def test_stopped_by_a_signal_and_resumed_ends_bit_identical(never_stopped, make_config, tmp_path, train_until, stops):
    for before, stop in itertools.pairwise([0, *stops]):
        train_until(stop - before, make_config(), tmp_path / "run")
        assert (tmp_path / "run" / "checkpoints" / str(stop)).exists()
    assert train(make_config(), tmp_path / "run", resume="require") is not None
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
    train(config, tmp_path / "whole")
    train_until(3, config, tmp_path / "run")
    assert train(config, tmp_path / "run", resume="require") is not None
    assert_same(outcome(tmp_path / "run"), outcome(tmp_path / "whole"))


def test_a_run_that_ended_is_not_run_again_and_says_so(make_config, tmp_path, monkeypatch, capsys):
    first = train(make_config(), tmp_path / "run")
    assert "nothing is trained" not in capsys.readouterr().out
    monkeypatch.setattr(loop, "build_experiment", None)
    assert train(make_config(), tmp_path / "run") == first
    assert f"{tmp_path / 'run'} holds this training, finished: nothing is trained" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["file", "unigram"])
def test_a_run_goes_on_with_its_own_tokenizer(make_config, tmp_path, train_until, monkeypatch, kind):
    """The file that it was copied from may be gone, and a unigram tokenizer does not come out the same when it is trained again."""
    config = make_config(tokenizer={"kind": "unigram"})
    original = tmp_path / "tokenizer.json"
    if kind == "file":
        original.write_text(load_dataset(config, print).tokenizer.to_str())
        config = config.model_copy(update={"tokenizer": schema.TokenizerFile(path=str(original))})
    train_until(1, config, tmp_path / "run")
    original.unlink(missing_ok=True)
    monkeypatch.setenv("ENCODER_TRAINER_CACHE", str(tmp_path / "another cache"))
    monkeypatch.setattr(dataset, "train_tokenizer", None)
    assert train(config, tmp_path / "run", resume="require") is not None
    assert len(predict_split(tmp_path / "run", "test", lambda _: None).labels)


def test_another_config_is_refused_by_its_keys_and_harmless_ones_are_not(make_config, tmp_path):
    train(make_config(), tmp_path / "run")
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    with pytest.raises(UsageError, match=r"model\.dropout"):
        train(make_config(model={"dropout": 0.3}), tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before
    assert train(make_config(training={"log_every": 3}), tmp_path / "run") is not None


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
        train(config, tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    table.write_text((tables / "train.csv").read_text())
    assert train(config, tmp_path / "run", resume="require") is not None


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
                train(config, tmp_path / "run")
            assert sorted((path, path.stat().st_ino) for path in (tmp_path / "run").iterdir()) == before
        return place(self, batch)

    monkeypatch.setattr(loop.Experiment, "place", train_again)
    assert train(config, tmp_path / "run") is not None
    with files.locked(tmp_path / "run"):
        pass


def test_the_speed_that_is_shown_is_that_of_steps_alone(make_config, tmp_path, monkeypatch):
    """By a clock that goes on by a millisecond where it is read, and by an hour where something is compiled, measured or saved."""
    speeds, now = [], [0.0]

    def clock():
        now[0] += 0.001
        return now[0]

    def slow(owner, name):
        function = getattr(owner, name)

        def slowly(*arguments, **settings):
            now[0] += 3600.0
            return function(*arguments, **settings)

        monkeypatch.setattr(owner, name, slowly)

    for module in (loop, experiment_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    for owner, name in ((jax.stages.Lowered, "compile"), (ClassificationEvaluator, "__call__"), (loop.Checkpoints, "save")):
        slow(owner, name)
    monkeypatch.setattr(loop.Logger, "training", lambda logger, step, figures, speed: speeds.append(speed))
    config = make_config(training={"log_every": 1, "evaluate_every": 1, "maximum_steps": 4})
    train(config, tmp_path / "run")
    assert len(speeds) == 4
    assert min(speeds) > config.batching.tokens  # with any of the others in it, a step would take more than an hour


def test_a_file_system_without_locks_trains_all_the_same(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with files.locked(tmp_path):
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
    train(make_config(), tmp_path / "run")
    said = capsys.readouterr().out
    assert "resuming at step" in said
    assert "changed since" not in said


def test_resume_choices(make_config, tmp_path):
    with pytest.raises(UsageError, match="no run to resume"):
        train(make_config(), tmp_path / "none", resume="require")
    assert not (tmp_path / "none").exists()
    train(make_config(), tmp_path / "run")
    with pytest.raises(UsageError, match="already holds a run"):
        train(make_config(), tmp_path / "run", resume="never")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("dear")
    with pytest.raises(UsageError, match="not a run directory"):
        train(make_config(), tmp_path / "other")


def test_a_loss_that_is_not_finite_is_named_and_the_last_good_checkpoint_kept(make_config, tmp_path):
    config = make_config(
        optimizer={"learning_rate": 1e30},
        schedule={"kind": "constant"},
        training={"gradient_clip": None, "checkpoint_every": 1, "average_decay": 0.0},
    )
    with pytest.raises(RunError, match=r"not finite at step \d+.*learning rate 1e\+30, batch \d+ of epoch 1"):
        train(config, tmp_path / "run")
    kept = [path for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit()]
    assert kept


def test_early_stopping_ends_the_run_at_the_best(make_config, tmp_path):
    config = make_config(training={"epochs": 50, "evaluate_every": 2, "early_stopping": {"patience": 2}})
    summary = train(config, tmp_path / "run")
    assert summary["steps"] < build_experiment(config, print).steps
    assert summary["steps"] - summary["best_step"] == 4


def test_compiles_once_for_each_shape(make_config, tmp_path, monkeypatch):
    experiments, evaluators = [], []
    build, make = loop.build_experiment, ClassificationObjective.evaluator
    monkeypatch.setattr(loop, "build_experiment", lambda *arguments: experiments.append(build(*arguments)) or experiments[-1])
    monkeypatch.setattr(ClassificationObjective, "evaluator", lambda *arguments: evaluators.append(make(*arguments)) or evaluators[-1])
    train(make_config(training={"epochs": 8}), tmp_path / "run")
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
    assert train(config, tmp_path / "run")["validation"] is None
    assert compiled == [0]


def test_wrong_warm_up_is_told_before_anything_is_written(make_config, tmp_path):
    with pytest.raises(UsageError, match="warmup_steps"):
        train(make_config(schedule={"warmup_steps": 10_000}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_best_checkpoint_and_as_many_of_the_latest_as_the_config_says_are_kept_and_orbax_alone_reads_them(
    make_config, tmp_path, monkeypatch
):
    accuracies = itertools.count(start=9, step=-1)

    def worse_and_worse(probabilities, labels):
        return {**scores(probabilities, labels), "accuracy": next(accuracies) / 10}

    monkeypatch.setattr(classification, "scores", worse_and_worse)
    config = make_config(training={"maximum_steps": 8, "checkpoint_every": 1, "evaluate_every": 2, "keep_latest": 3})
    assert train(config, tmp_path / "run")["best_step"] == 2
    assert sorted(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()) == [2, 6, 7, 8]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where the arrays lay is not given here, and Orbax says that it takes it from the files
        stored = flat(orbax.load_checkpointables(tmp_path / "run" / "checkpoints" / "2")["parameters"])
    ours = flat(nnx.to_pure_dict(load_run(tmp_path / "run").parameters))
    assert stored.keys() == {f"{path}.value" for path in ours}
    for path, leaf in ours.items():
        np.testing.assert_array_equal(stored[f"{path}.value"], leaf)


def test_the_seed_decides_parameters_batches_and_dropout_and_not_which_rows_are_read(make_config):
    one, again, other = (build_experiment(make_config(seed=seed), print) for seed in (0, 0, 1))
    assert one.dataset.fingerprint == other.dataset.fingerprint
    first = [jax.tree.leaves(experiment.initial().parameters) for experiment in (one, again, other)]
    assert all((a == b).all() for a, b in zip(*first[:2], strict=True))
    assert any((a != b).any() for a, b in zip(first[0], first[2], strict=True))
    batches = [[experiment.batches.batch(step)["tokens"] for step in range(4)] for experiment in (one, again, other)]
    assert all(map(np.array_equal, *batches[:2]))
    assert not all(map(np.array_equal, batches[0], batches[2]))

    def loss(experiment):
        """Of the same parameters and the same batch: only dropout is the experiment's own."""
        state, batch = one.initial(), one.place(one.batches.batch(0))
        experiment.step.compile(state, batch, Stopwatch())
        return float(experiment.step(state, batch)[1].loss)

    assert loss(one) == loss(again) != loss(other)
