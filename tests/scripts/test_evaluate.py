"""evaluate.py: the figures of a run, for people and for programs."""

import json

import numpy as np
import pytest
from rich.console import Console

from transformer import files


def evaluation(command, capsys, tmp_path, *arguments):
    """Exit code 0, the JSON and the table."""
    output = tmp_path / "figures.json"
    assert command("evaluate", *arguments, "--output", output) == 0
    return json.loads(output.read_text(encoding="utf-8")), capsys.readouterr().out


def test_figures_are_those_of_the_runs_summary(trained, command, capsys, tmp_path):
    figures, table = evaluation(command, capsys, tmp_path, trained / "good")
    summary = json.loads((trained / "good" / "summary.json").read_text())["test"]
    assert {"accuracy": figures["accuracy"], "macro_f1": figures["macro_f1"], "loss": figures["log_loss"]} == summary
    assert figures.keys() >= {"expected_calibration_error", "examples", "per_class", "confusion_matrix"}
    assert figures["examples"] == 40
    assert figures["texts_per_second"] > 0
    assert [row["label"] for row in figures["per_class"]] == json.loads((trained / "good" / "labels.json").read_text())
    for text in (f"{figures['accuracy']:.2%}", "40 examples", "precision", "[bold]魚", "predicted class (columns)"):
        assert text in table


def test_other_splits(trained, command, capsys, tmp_path):
    figures, _ = evaluation(command, capsys, tmp_path, trained / "good", "--split", "validation")
    summary = json.loads((trained / "good" / "summary.json").read_text())["validation"]
    assert (figures["split"], figures["examples"], figures["log_loss"]) == ("validation", 30, summary["loss"])
    figures, _ = evaluation(command, capsys, tmp_path, trained / "good", "--split", "train")
    assert figures["examples"] == 120


def test_a_better_run_is_told_from_a_hasty_one(trained, command, capsys, tmp_path):
    figures, table = evaluation(command, capsys, tmp_path, trained / "good", "--baseline", trained / "hasty")
    baseline = json.loads((trained / "hasty" / "summary.json").read_text())["test"]
    for name in ("accuracy", "macro_f1"):
        difference = figures["baseline"][name]
        assert difference["difference"] == pytest.approx(figures[name] - baseline[name])
        assert 0 < difference["low"] <= difference["difference"] <= difference["high"]
        assert difference["p_value"] < 0.01
    assert "paired bootstrap" in table


def test_several_runs_are_measured_together(trained, command, capsys, tmp_path):
    single = [evaluation(command, capsys, tmp_path, trained / run)[0] for run in ("good", "hasty")]
    together, table = evaluation(command, capsys, tmp_path, trained / "good", trained / "hasty")
    assert single[0]["log_loss"] < together["log_loss"] < single[1]["log_loss"]
    assert f"{trained / 'good'} + {trained / 'hasty'}, test: 40 examples" in table


def test_runs_on_other_data_are_not_compared(trained, command, capsys, tmp_path):
    output = tmp_path / "figures.json"
    arguments = (trained / "good", "--split", "validation", "--baseline", trained / "pairs", "--output", output)
    assert command("evaluate", *arguments) == 2
    assert "were not tested on the same rows (30 and 15 examples" in capsys.readouterr().err
    assert not output.exists()


def test_a_split_that_does_not_exist_is_refused(trained, command, capsys):
    assert command("evaluate", trained / "pairs") == 2
    assert "no test split; say --split train or --split validation" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [lambda rows: rows.replace("whiskers", "feathers"), lambda rows: "".join(reversed(rows.splitlines(keepends=True)))]
)
def test_data_that_changed_are_refused(trained, command, capsys, change):
    """Other texts make another tokenizer, and so other token ids. Other rows may bring texts into a split that the run was trained on."""
    data = trained / "pairs.jsonl"
    rows = data.read_text(encoding="utf-8")
    try:
        data.write_text(change(rows), encoding="utf-8")
        assert command("evaluate", trained / "pairs", "--split", "validation") == 2
        assert "are not those that its run began with" in capsys.readouterr().err
    finally:
        data.write_text(rows, encoding="utf-8")


def test_data_that_are_gone_are_named(trained, command, capsys):
    data = trained / "pairs.jsonl"
    rows = data.read_text(encoding="utf-8")
    data.unlink()
    try:
        assert command("evaluate", trained / "pairs", "--split", "validation") == 2
        assert str(data) in capsys.readouterr().err
    finally:
        data.write_text(rows, encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no/such/run",), "no/such/run"),
        (("{trained}/good", "--baseline", "no/such/run"), "no/such/run"),
        (("{trained}/good", "--output", "no/such/folder/figures.json"), "no/such/folder"),
        (("{trained}/good", "--output", "{trained}"), "not a regular file"),
        (("{trained}/good", "--split", "dev"), "invalid choice: 'dev'"),
        ((), "RUN_DIR"),
    ],
)
def test_mistakes_on_the_command_line(trained, command, capsys, arguments, message):
    assert command("evaluate", *(argument.format(trained=trained) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_full_disk_costs_nobody_the_old_figures(trained, command, capsys, tmp_path, monkeypatch):
    output = tmp_path / "figures.json"
    output.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert command("evaluate", trained / "good", "--output", output) == 2
    assert f"--output {output}: No space left on device; make room, or name another file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
    assert output.read_text() == "old"


def test_many_classes_show_the_most_confused_pairs(load_script, capsys):
    """Where the matrix would not fit, its largest errors are listed, the largest first."""
    confusion = np.eye(30, dtype=int) * 1000
    confusion[3, 7], confusion[20, 2] = 5, 9
    table = load_script("evaluate")._confused_pairs_table([f"class {index}" for index in range(30)], confusion)
    Console(markup=False, width=140).print(table)
    rows = [line.split("│")[1:4] for line in capsys.readouterr().out.splitlines() if "class " in line]
    assert [[cell.strip() for cell in row] for row in rows] == [["class 20", "class 2", "9"], ["class 3", "class 7", "5"]]
