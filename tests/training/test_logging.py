import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboardX.proto import event_pb2

from transformer.config.errors import RunError, UsageError
from transformer.training.logging import Logger, MetricsFile
from transformer.training.loop import train


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_repeated_steps_are_written_once_and_half_a_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    first.append(1, "train", {"loss": 2.0})
    first.append(2, "train", {"loss": 1.0})
    first.append(2, "validation", {"loss": 1.5})
    with path.open("a") as file:
        file.write('{"step": 3, "spl')  # killed while writing
    again = MetricsFile(path)
    again.append(2, "train", {"loss": 1.0})
    again.append(3, "train", {"loss": 0.5})
    assert [(line["step"], line["split"]) for line in lines(path)] == [(1, "train"), (2, "train"), (2, "validation"), (3, "train")]


@pytest.fixture
def started(make_config, monkeypatch):
    """Starts a logger with a Weights & Biases that only notes what it is told: (directory, name) -> what it was told."""

    def start(directory, name="tiny"):
        told = {}
        module = SimpleNamespace(init=lambda **settings: told.update(settings) or SimpleNamespace(finish=lambda: None), Error=Exception)
        monkeypatch.setitem(sys.modules, "wandb", module)
        directory.mkdir(parents=True, exist_ok=True)
        config = make_config(name=name, training={"wandb_project": "seeds"})
        with Logger(directory, config, first_step=0, steps=1):
            return told

    return start


def test_each_run_directory_has_curves_of_its_own_in_weights_and_biases(started, tmp_path, monkeypatch):
    """Seeds of one config share its name; and a resumed run is the same one under a new name, however its directory is written."""
    directory = tmp_path / "quickstart-0"
    told = started(directory)
    elsewhere = [tmp_path / "quickstart-1", tmp_path / "other" / "quickstart-0"]
    assert len({told["id"], *(started(other)["id"] for other in elsewhere)}) == 3
    assert told["id"].startswith("quickstart-0-")
    assert (told["project"], told["name"], told["resume"]) == ("seeds", "tiny", "allow")
    monkeypatch.chdir(directory)
    again = started(Path(), name="renamed")
    assert (again["id"], again["name"]) == (told["id"], "renamed")


def test_the_identity_in_weights_and_biases_has_none_of_the_characters_that_it_refuses(started, tmp_path):
    assert not set("/\\#?%:") & set(started(tmp_path / "lr: 50% #1?")["id"])


def test_weights_and_biases_that_does_not_start_is_told_in_a_line(make_config, tmp_path, monkeypatch):
    class Error(Exception):
        pass

    def refuse(**settings):
        raise Error("api_key not configured")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=refuse, Error=Error))
    with pytest.raises(RunError, match=r"api_key not configured; type .*wandb login"):
        train(make_config(training={"wandb_project": "seeds"}), tmp_path / "run")


def test_weights_and_biases_that_is_not_installed_is_told_before_anything_is_written(make_config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match="pip install wandb"):
        train(make_config(training={"wandb_project": "seeds"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def curves(directory):
    """What TensorBoard would show, {(name, step): value}: in its files, each event stands between its length and checksums."""
    found = {}
    for file in directory.glob("events.out.tfevents.*"):
        content, place = file.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = event_pb2.Event.FromString(content[place + 12 : place + 12 + length])
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            place += 12 + length + 4
    return found


def test_every_figure_is_in_all_the_places_it_belongs(make_config, tmp_path, monkeypatch):
    told = {}
    run = SimpleNamespace(
        log=lambda figures, step: told.update({(name, step): value for name, value in figures.items()}), finish=lambda: told.update(end=1)
    )
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **_: run, Error=Exception))
    with Logger(tmp_path, make_config(training={"wandb_project": "seeds"}), first_step=0, steps=2) as logger:
        logger.training(1, {"loss": 2.0, "gradient_norm": 0.5}, 1000.0)
        logger.evaluation(2, "validation", {"accuracy": 0.25}, {"total": 3.00049})
    expected = {
        ("train/loss", 1): 2.0,
        ("train/gradient_norm", 1): 0.5,
        ("train/real_tokens_per_second", 1): 1000.0,
        ("validation/accuracy", 2): 0.25,
    }
    assert told == {**expected, "end": 1}
    assert curves(tmp_path / "tensorboard") == expected
    assert lines(tmp_path / "metrics.jsonl") == [
        {"step": 1, "split": "train", "loss": 2.0, "gradient_norm": 0.5},
        {"step": 2, "split": "validation", "accuracy": 0.25, "seconds": {"total": 3.0}},
    ]
