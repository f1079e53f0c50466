"""train.py before any training: `--dry-run` tells what the training then takes, `--print-config` what it would be made of."""

import json
import re

import pytest
import yaml

from tests.scripts.conftest import contents
from transformer.config.load import dump_config, load_config

ROW = re.compile(r"(\d+) x (\d+) +│ +(\d+) +│ +(\d+) +│ +([\d,]+) MiB +│ +([\d.]+) G +│ +([\d.]+)")
"""Of the table: rows, length, rows a device, batches an epoch, memory, operations, seconds."""


def figures(printed, name):
    """The numbers of the line that begins with this name."""
    (line,) = (line for line in printed.splitlines() if line.startswith(name))
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", line.removeprefix(name))]


def test_labels_that_look_like_markup_are_told_as_they_are(work, command, capsys):
    rows = "the cat purrs,[/a]\na dog barks,[/A]\na bird sings,:cat:\n"
    for name in ("train", "test"):
        (work / f"{name}.csv").write_text("text,label\n" + rows * 30)
    assert command("train", "config.yaml", "--dry-run") == 0
    assert "'[/A]'" in capsys.readouterr().out


def test_a_dry_run_tells_what_the_training_takes_and_leaves_no_run(work, command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    rows = "the cat purrs,cat\na dog barks,dog\n" + "the old dog barks at the cat in the small house near the water today,dog\n"
    (work / "train.csv").write_text("text,label\n" + rows * 50)
    arguments = ["config.yaml", "batching.tokens=256", "batching.length_groups=2", "model.width=128", "training.epochs=2"]
    assert command("train", *arguments, "--dry-run") == 0
    told = capsys.readouterr().out
    assert not (work / "runs").exists()
    assert command("train", *arguments) == 0
    summary = json.loads((work / "runs" / "tiny" / "summary.json").read_text())

    assert figures(told, "parameters") == [summary["parameters"]["total"], summary["parameters"]["without_embeddings"]]
    batches, steps = figures(told, "batches an epoch")
    assert (steps, batches) == (summary["steps"], summary["steps"] / 2)
    tokens, texts = figures(told, "global batch")
    assert tokens == 256
    assert texts == pytest.approx(120 / batches, abs=0.05)  # four fifths of the rows
    assert figures(told, "padding") == [round(100 * (1 - summary["tokens"]["real"] / summary["tokens"]["computed"]), 1)]

    shapes = [[float(value.replace(",", "")) for value in row] for row in ROW.findall(told)]
    assert [length for _, length, *_ in shapes] == [8, 16]
    assert sum(row[3] for row in shapes) == batches
    for rows, length, rows_a_device, _, mebibytes, operations, seconds in shapes:
        assert rows * length == 256
        assert rows_a_device == rows
        assert 0 < mebibytes <= figures(told, "memory of the step")[0]
        assert operations > 0
        assert 0 < seconds < 10
    duration = 2 * sum(row[3] * row[6] for row in shapes)
    assert figures(told, "estimated training") == pytest.approx([duration], abs=0.51)
    assert figures(told, "compilation")[0] > 0


def test_the_printed_config_is_whole_and_means_the_same_and_nothing_else_happens(work, command, capsys):
    before = contents(work)
    assert command("train", "config.yaml", "model.layers=2", "--print-config") == 0
    printed = capsys.readouterr().out
    assert contents(work) == before
    values = yaml.safe_load(printed)
    assert (values["name"], values["model"]["layers"], values["training"]["epochs"]) == ("tiny", 2, 1)
    assert values["seed"] == 0, "a default that config.yaml leaves out"
    (work / "printed.yaml").write_text(printed)
    assert load_config(work / "printed.yaml") == load_config(work / "config.yaml", ["model.layers=2"])
    assert dump_config(load_config(work / "printed.yaml")) == printed


def test_the_printed_config_has_the_architecture_of_the_weights_that_it_starts_from(work, command, capsys):
    assert command("train", "config.yaml", "--run-dir", "earlier") == 0
    config = (work / "config.yaml").read_text()
    without_model = config[: config.index("tokenizer:")] + config[config.index("batching:") : config.index("model:")]
    (work / "later.yaml").write_text(without_model + "model: {initialize_from: {kind: run, path: earlier}}\n")
    capsys.readouterr()
    assert command("train", "later.yaml", "--print-config") == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["model"]["width"] == 16
    assert yaml.safe_load(printed)["tokenizer"] == {"kind": "pretrained"}
    (work / "printed.yaml").write_text(printed)
    assert command("train", "printed.yaml", "training.maximum_steps=1") == 0


def test_the_table_at_the_end_has_the_whole_path_of_a_run_however_long(work, command, capsys):
    directory = "runs/" + "a-very-long-name-" * 6
    assert command("train", "config.yaml", "training.maximum_steps=1", "--run-dir", directory) == 0
    assert directory in "".join(capsys.readouterr().out.split())
