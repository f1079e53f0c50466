"""benchmark.py: what is measured, counted and explained, in files."""

import json
import os

import pytest

STUDY = """\
name: small
lengths: [8, 16]
tokens: 32
batches: [1]
rounds: 2
round_seconds: 0.001
vocabulary_size: 50
classes: 3
models:
  - {name: transformer, encoder: {kind: transformer, width: 16, layers: 1, feed_forward: 32}}
  - {name: lstm, encoder: {kind: lstm, width: 16, layers: 1, hidden: 17}}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def test_a_study_in_files(config, command, tmp_path, monkeypatch, capsys):
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # one setting of cores, for the sake of time
    assert command("benchmark", config, "lengths=[8]", "tokens=null", "--output", tmp_path / "first") == 0
    told = capsys.readouterr().out
    assert "2/2 training 1 × 8: transformer" in told
    figures = json.loads((tmp_path / "first" / "benchmark.json").read_text())
    assert figures["kind"] == "benchmark"
    assert {row["name"]: row["layers"] for row in figures["models"]} == {"transformer": 1, "lstm": 1}
    assert len(figures["measured"]) == len(figures["counted"]) == 2 * 2
    for row in figures["measured"]:
        assert row["failure"] is None
        assert 0 < row["low"] <= row["median"] <= row["high"] < 1
        assert row["peak_bytes"] > 0
        assert row["compile_seconds"] > 0
    spans = {(row["model"], row["mode"]): row["span"] for row in figures["counted"]}
    assert spans["lstm", "training"] > spans["lstm", "forward"] > spans["transformer", "forward"]
    if figures["machine"]["device"] == "cpu" and hasattr(os, "sched_getaffinity"):
        assert 1e9 < figures["rates"]["operations_per_second_one_core"] < 1e12
        assert 1e-10 < figures["rates"]["seconds_per_dependent_operation"] < 1e-4
        assert len(figures["bounds"]) == 2 * 2 * 21
    assert "<html" in (tmp_path / "first" / "report.html").read_text(encoding="utf-8")


def test_mistakes_are_told_at_once(config, command, tmp_path, monkeypatch, capsys):
    def error(*arguments):
        assert command("benchmark", *arguments) == 2
        return capsys.readouterr().err

    assert "unknown key round; did you mean rounds?" in error(config, "round=2")
    assert "override round=2" in error("round=2")
    monkeypatch.chdir(tmp_path)
    assert "override round=2" in error("round=2"), "the default study is found from elsewhere too"
    assert "no.json: No such file" in error(config, "--with", tmp_path / "no.json")
    (tmp_path / "other.json").write_text('{"kind": "comparison"}')
    assert "it holds no benchmark" in error(config, "--with", tmp_path / "other.json")
    assert "not JSON" in error(config, "--with", config)
    assert "--output" in error(config, "--output", config)
