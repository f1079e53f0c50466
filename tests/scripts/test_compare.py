"""compare.py: a comparison in files, and what becomes of it where a training stops or fails."""

import json
import subprocess

import pytest

from transformer.evaluation.comparison_figures import FLOOR


@pytest.fixture
def comparison(work):
    """The arguments of a comparison of one rival with the floor: a single training."""
    rivals = {"mine": {"config": "config.yaml", "description": "the only one"}}
    settings = {"name": "small", "rivals": rivals, "learning_rates": [0.01], "seeds": [0]}
    (work / "comparison.yaml").write_text(json.dumps(settings))
    return "compare", "comparison.yaml", "--output", "out"


@pytest.fixture
def trainings(monkeypatch):
    """The commands of the trainings that are started; with a code in `ends`, they do nothing and end with it."""
    started, ends, start = [], [], subprocess.Popen

    class Ended:
        def wait(self):
            return ends[0]

    def watched(command, *arguments, **settings):
        if not any(str(part).endswith("train.py") for part in command):
            return start(command, *arguments, **settings)
        started.append(command)
        return Ended() if ends else start(command, *arguments, **settings)

    monkeypatch.setattr(subprocess, "Popen", watched)
    return started, ends


def test_a_comparison_in_files(comparison, trainings, work, command, capsys):
    started, _ = trainings
    assert command(*comparison) == 0
    assert capsys.readouterr().out.endswith("\nreport: out/report.html\n")
    figures = json.loads((work / "out" / "report.json").read_text(encoding="utf-8"))
    assert (figures["kind"], [rival["name"] for rival in figures["rivals"]]) == ("comparison", ["mine", FLOOR])
    assert [run["seed"] for run in figures["rivals"][0]["runs"]] == [0]
    assert len(figures["pairs"]) == 1
    page = (work / "out" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert FLOOR in page
    assert {path.suffix for path in (work / "out").iterdir() if path.is_file()} == {".json", ".html", ".svg", ".png"}
    (summary,) = (work / "out" / "runs").rglob("summary.json")
    assert json.loads(summary.read_text())["test"] is None
    assert len(started) == 1
    assert command(*comparison) == 0, "what is finished is not trained again"
    assert len(started) == 1


@pytest.mark.parametrize(
    ("code", "left", "words"),
    [
        (0, 0, "To go on with the comparison: python compare comparison.yaml --output out\n"),
        (-15, 0, "To go on with the comparison: python compare comparison.yaml --output out\n"),
        (1, 1, "failed, as told above; correct that, then run the same command again: it goes on\n"),
    ],
    ids=["stopped", "stopped before its first step", "failed"],
)
def test_a_training_that_stops_or_fails_ends_the_comparison_without_a_report(
    comparison, trainings, work, command, capsys, code, left, words
):
    trainings[1].append(code)
    assert command(*comparison) == left
    output = capsys.readouterr()
    assert (output.err if left else output.out).endswith(words)
    assert not (work / "out" / "report.json").exists()
