"""The study asks everyone in turn, goes on after failures, and refuses what would be unfair. Processes are played by objects here."""

import json
import threading
from collections.abc import Callable

import pytest

from transformer.config.errors import RunError, UsageError
from transformer.config.load import load_yaml_as
from transformer.config.parallelism import ParallelismStudy
from transformer.evaluation.parallelism import study as module
from transformer.evaluation.parallelism.competitor import Competitor

MODELS = """\
name: test
models:
  - {name: attentive, encoder: {kind: transformer, width: 16}}
  - {name: recurrent, encoder: {kind: lstm, width: 16}}
"""


@pytest.fixture
def study(tmp_path) -> Callable[..., ParallelismStudy]:
    (tmp_path / "study.yaml").write_text(MODELS)
    small = ("lengths=[4,8]", "tokens=16", "batches=[1]", "rounds=3")
    return lambda *overrides: load_yaml_as(ParallelismStudy, tmp_path / "study.yaml", [*small, *overrides])


@pytest.fixture
def played(monkeypatch):
    """Stands in for the processes; `log` has what was asked, `answers` may hold other answers, `sizes` other sizes."""

    class Played(Competitor):
        log, answers, sizes = [], {}, {}

        def __init__(self, study, subject, cores):
            self.name, self.cores = subject.name, cores

        def start(self):
            pass

        def size(self):
            return self.sizes.get(self.name, 100)

        def ask(self, do, **arguments):
            self.log.append((do, self.name, self.cores, *arguments.values()))
            shape = {key: arguments.get(key) for key in ("mode", "batch", "length")}
            if (other := self.answers.get((do, self.name, self.cores, *shape.values()))) is not None:
                return other
            return {
                "count": {"work": 1000, "span": 10 if self.name == "attentive" else 100},
                "prepare": {"seconds": 0.04, "compile_seconds": 1.5, "peak_bytes": 7},
                "run": {"seconds": 0.01 * (len(self.log) % 3 + 1)},
                "rates": {"operations_per_second_one_core": 1e9, "seconds_per_dependent_operation": 1e-7, "how": "played"},
            }[do]

        def close(self):
            self.log.append(("close", self.name, self.cores))

    monkeypatch.setattr(module, "Competitor", Played)
    monkeypatch.setattr(module, "core_settings", lambda device: [1, 2] if device == "cpu" else [None])
    return Played


def test_shapes_are_the_fixed_batches_and_the_fixed_tokens(study):
    assert study().shapes() == [(1, 4), (4, 4), (1, 8), (2, 8)]
    assert study("most_tokens=8").shapes() == [(1, 4), (1, 8)]
    assert study("tokens=null", "batches=[3]").shapes() == [(3, 4), (3, 8)]


def test_every_model_is_measured_at_every_shape_with_every_number_of_cores(study, played):
    figures = module.run_study(study(), "cpu", lambda _: None)
    json.dumps(figures, allow_nan=False)
    where = {(row["model"], row["mode"], row["batch"], row["length"], row["cores"]) for row in figures["measured"]}
    assert len(where) == len(figures["measured"]) == 2 * 2 * 4 * 2
    assert len(figures["counted"]) == 2 * 2 * 4
    assert {row["processors"] for row in figures["crossings"]} == {1}
    row = figures["measured"][0]
    assert row["low"] <= row["median"] <= row["high"]
    assert row["real_tokens_per_second"] == pytest.approx(row["batch"] * row["length"] / row["median"])
    assert (row["compile_seconds"], row["peak_bytes"], row["failure"]) == (1.5, 7, None)


def test_rounds_go_around_and_back(study, played):
    module.run_study(study(), "cpu", lambda _: None)
    first = [(name, cores) for do, name, cores, *_ in played.log if do == "run"][:12]
    order = [("attentive", 1), ("recurrent", 1), ("attentive", 2), ("recurrent", 2)]
    assert first == [*order, *order[::-1], *order]


def test_what_runs_out_of_memory_is_a_result(study, played):
    played.answers = {
        ("prepare", "attentive", 2, "training", 2, 8): {"failure": "out of memory"},
        ("count", "attentive", 1, "training", 2, 8): {"failure": "out of memory"},
        ("run", "recurrent", 1, None, None, None): {"failure": "it broke"},
    }
    figures = module.run_study(study(), "cpu", lambda _: None)
    failed = {(row["model"], row["cores"], row["failure"]): row for row in figures["measured"] if row["failure"]}
    assert failed.keys() == {("attentive", 2, "out of memory"), ("recurrent", 1, "it broke")}
    assert {row["median"] for row in failed.values()} == {None}
    assert sum(row["failure"] == "out of memory" for row in figures["measured"]) == 1
    assert len(figures["counted"]) == 2 * 2 * 4 - 1


def test_models_of_other_sizes_are_refused(study, played):
    played.sizes = {"recurrent": 110}
    with pytest.raises(UsageError, match="recurrent has 110 parameters without embeddings and attentive has 100"):
        module.run_study(study(), "cpu", lambda _: None)
    assert {("close", "attentive", 1), ("close", "recurrent", 2)} <= set(played.log)


def test_a_program_that_cannot_be_counted_stops_the_study(study, played):
    played.answers = {("count", "recurrent", 1, "forward", 1, 4): {"failure": "cannot count the operation fft"}}
    with pytest.raises(RunError, match="recurrent, forward 1 × 4: cannot count the operation fft"):
        module.run_study(study(), "cpu", lambda _: None)


def test_another_device_is_measured_and_not_counted(study, played):
    figures = module.run_study(study(), "gpu", lambda _: None)
    assert len(figures["measured"]) == 2 * 2 * 4
    assert {row["cores"] for row in figures["measured"]} == {None}
    assert (figures["counted"], figures["rates"], figures["bounds"], figures["crossings"]) == ([], None, [], [])


@pytest.mark.parametrize(("device", "together"), [("cpu", 1), ("gpu", 2)])
def test_only_where_processors_are_not_measured_do_models_compile_together(device, together, study, played, monkeypatch):
    at_work, most, lock, both = set(), [0], threading.Lock(), threading.Event()
    ask = played.ask

    def slow(self, do, **arguments):
        with lock:
            at_work.add(self)
            most[0] = max(most[0], len(at_work))
            if len(at_work) == 2:
                both.set()
        if do == "prepare":
            both.wait(60 if together == 2 else 0.02)  # where others may come, one does, however busy the machine is
        with lock:
            at_work.remove(self)
        return ask(self, do, **arguments)

    monkeypatch.setattr(played, "ask", slow)
    module.run_study(study("lengths=[4]"), device, lambda _: None)
    assert most == [together]


def test_mistakes_in_a_study_are_named(study):
    with pytest.raises(UsageError, match="two models are named a; give each a name of its own"):
        study("models=[{name: a, encoder: {kind: gru}}, {name: a, encoder: {kind: gru}}]")
    with pytest.raises(UsageError, match="no batch is left to measure"):
        study("most_tokens=2")
    with pytest.raises(UsageError, match="unknown key length; did you mean lengths"):
        study("length=[3]")
    with pytest.raises(UsageError, match=r"models\[0\].encoder.kind should be one of"):
        study("models=[{name: a, encoder: {kind: lstn}}]")
