"""Mistakes in the configs of comparisons and of benchmarks are named with their place and their remedy."""

from pathlib import Path

import pytest

from transformer.config.comparison import Comparison
from transformer.config.errors import UsageError
from transformer.config.load import load_yaml_as
from transformer.config.parallelism import ParallelismStudy
from transformer.config.schema import Config, Section
from transformer.config.sections import dotted_keys

COMPARISON = """\
name: tiny
rivals:
  attentive:
    config: transformer.yaml
    family: attention
    description: Looks everywhere.
  lstm:
    config: lstm.yaml
    settings: [model.dropout=0.1]
    family: recurrence
    description: Remembers.
"""
BENCHMARK = """\
name: tiny
models:
  - name: transformer
    family: attention
    encoder: {kind: transformer, heads: 2}
  - name: lstm
    family: recurrence
    encoder: {kind: lstm, hidden: 8}
"""


TRAINING = "name: tiny\ndata: {source: {kind: files, train: [{path: train.csv}]}}\nmodel: {width: 8}\ntraining: {epochs: 1}\n"


@pytest.fixture
def message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def refused(root: type[Section], text: str, *overrides: str) -> str:
        Path("study.yaml").write_text(text)
        with pytest.raises(UsageError) as raised:
            load_yaml_as(root, "study.yaml", overrides)
        return str(raised.value)

    return refused


@pytest.mark.parametrize(
    ("line", "replacement", "expected"),
    [
        ("    config: lstm.yaml", "    confg: lstm.yaml", "study.yaml:8: unknown key rivals.lstm.confg; did you mean config?"),
        ("    config: lstm.yaml", "", "study.yaml:7: rivals.lstm.config is missing: Its config file"),
        ("    config: lstm.yaml", "    config: 3", "study.yaml:8: rivals.lstm.config should be text, not 3; put it in quotes"),
        ("    description: Remembers.", "    seeds: [0]", "study.yaml:11: unknown key rivals.lstm.seeds; did you mean seeds?"),
        ("    description: Remembers.", "    zzz: 1", "unknown key rivals.lstm.zzz; valid are config, family, description, settings"),
        ("  lstm:\n    config:", "  config:\n    confg:", "study.yaml:8: unknown key rivals.config.confg; did you mean config?"),
        ("name: tiny", "config: x.yaml", "study.yaml:1: unknown key config; did you mean rivals.NAME.config?"),
        ("name: tiny", "name: tiny\nrival: {}", "study.yaml:2: unknown key rival; did you mean rivals?"),
        ("  lstm:", "  my rival:", "study.yaml:7: rivals.my rival: a rival's name is that of a directory too: "),
        ("  lstm:", "  my rival:", "; write my_rival"),
        ("  lstm:", "  a/lstm:", "study.yaml:7: rivals.a/lstm: a rival's name is that of a directory too: "),
        ("  lstm:", "  ..:", "study.yaml:7: rivals...: a rival's name is that of a directory too: "),
    ],
)
def test_mistakes_in_a_comparison(message, line: str, replacement: str, expected: str) -> None:
    assert expected in message(Comparison, COMPARISON.replace(line, replacement))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "rivals.lstm.settings=model.dropout=0.1",
            "rivals.lstm.settings should be a list, not 'model.dropout=0.1'; write [model.dropout=0.1]",
        ),
        ("rivals.lstm.settings=[model.dropout=0.1, 3]", "rivals.lstm.settings[1] should be text, not 3; put it in quotes"),
        ("rivals.lstm.confg=x.yaml", "unknown key rivals.lstm.confg; did you mean config?"),
        ("rivals.lstm.family=recurrent", "not 'recurrent'; did you mean recurrence?"),
        (
            "rivals.lstn.config=x.yaml",
            "rivals.lstn.family is missing: What it is made of; the report groups models by it; did you mean rivals.lstm?",
        ),
        ("rivals.gru.config=x.yaml", "rivals.gru.family is missing: What it is made of; the report groups models by it.\n"),
        ("rivals.lstm=3", "rivals.lstm should be a section with keys of its own, not 3"),
        ("rivals=3", "rivals should be a section with keys of its own, not 3"),
    ],
)
def test_mistakes_in_a_comparison_on_the_command_line(message, override: str, expected: str) -> None:
    text = message(Comparison, COMPARISON, override)
    assert text.startswith(f"override {override}: ")
    assert expected in text


@pytest.mark.parametrize(
    ("root", "text", "expected"),
    [
        (Comparison, TRAINING, "a training config, which train.py takes; a comparison config has rivals:, see configs/compare/"),
        (ParallelismStudy, TRAINING, "a training config, which train.py takes; a benchmark config has models:, see configs/benchmark/"),
        (Config, COMPARISON, "a comparison config, which scripts/compare.py takes; a training config has data:, see configs/"),
        (Config, BENCHMARK, "a benchmark config, which scripts/benchmark.py takes; a training config has data:, see configs/"),
    ],
)
def test_a_config_of_another_program_is_told_in_one_line(message, root: type[Section], text: str, expected: str) -> None:
    assert message(root, text) == f"study.yaml is {expected}"


def test_a_key_of_another_program_is_a_key_like_any_other_beside_ones_own(message) -> None:
    assert message(Config, TRAINING + "rivals: {}\n").startswith("study.yaml:5: unknown key rivals; valid are ")


def test_a_comparison_of_nothing(message) -> None:
    expected = "study.yaml:2: rivals is empty; it should have at least 1 section, under a name of your own"
    assert message(Comparison, "name: tiny\nrivals: {}\n") == expected


@pytest.mark.parametrize(
    ("line", "replacement", "expected"),
    [
        ("hidden: 8", "hiden: 8", "study.yaml:8: unknown key models[1].encoder.hiden; did you mean hidden?"),
        ("kind: lstm, ", "", "study.yaml:8: models[1].encoder.kind is missing; it should be one of transformer, rnn"),
        ("encoder: {kind: lstm", "encodr: {kind: lstm", "study.yaml:8: unknown key models[1].encodr; did you mean encoder?"),
        (
            "encoder: {kind: lstm, hidden: 8}",
            "encoder: lstm",
            "models[1].encoder should be a section with keys of its own, not 'lstm'; write {kind: lstm}",
        ),
        (
            "  - name: lstm\n    family: recurrence\n    encoder: {kind: lstm, hidden: 8}",
            "  - lstm",
            "write {name: ..., family: ..., encoder: ...}",
        ),
        ("name: tiny", "encoder: {}", "study.yaml:1: unknown key encoder; did you mean models[0].encoder?"),
    ],
)
def test_mistakes_in_a_benchmark(message, line: str, replacement: str, expected: str) -> None:
    assert expected in message(ParallelismStudy, BENCHMARK.replace(line, replacement))


def test_keys_below_a_name_of_ones_own_and_below_a_list_are_written_so_that_they_can_be_found() -> None:
    assert "rivals.NAME.config" in list(dotted_keys(Comparison))
    assert "models[0].encoder.heads" in list(dotted_keys(ParallelismStudy))
