"""Mistakes in the configs of comparisons and of benchmarks are named with their place and their remedy."""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from transformer.config.comparison import Comparison
from transformer.config.errors import UsageError
from transformer.config.load import keys_set_by, load_config, load_yaml_as
from transformer.config.parallelism import ParallelismStudy
from transformer.config.schema import Config, Model, Section
from transformer.config.sections import dotted_keys

COMPARISON = """\
name: tiny
rivals:
  attentive:
    config: transformer.yaml
    description: Looks everywhere.
  lstm:
    config: lstm.yaml
    settings: [model.dropout=0.1]
    description: Remembers.
"""
BENCHMARK = """\
name: tiny
models:
  - name: transformer
    encoder: {kind: transformer, heads: 2}
  - name: lstm
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
        ("    config: lstm.yaml", "    confg: lstm.yaml", "study.yaml:7: unknown key rivals.lstm.confg; did you mean config?"),
        ("    config: lstm.yaml", "", "study.yaml:6: rivals.lstm.config is missing: Its config file"),
        ("    config: lstm.yaml", "    config: 3", "study.yaml:7: rivals.lstm.config should be text, not 3; put it in quotes"),
        ("    description: Remembers.", "    seeds: [0]", "study.yaml:9: unknown key rivals.lstm.seeds; did you mean seeds?"),
        ("    description: Remembers.", "    zzz: 1", "unknown key rivals.lstm.zzz; valid are config, description, settings"),
        ("  lstm:\n    config:", "  config:\n    confg:", "study.yaml:7: unknown key rivals.config.confg; did you mean config?"),
        ("name: tiny", "config: x.yaml", "study.yaml:1: unknown key config; did you mean rivals.NAME.config?"),
        ("name: tiny", "name: tiny\nrival: {}", "study.yaml:2: unknown key rival; did you mean rivals?"),
        ("  lstm:", "  my rival:", "study.yaml:6: rivals.my rival: a rival's name is that of a directory too: "),
        ("  lstm:", "  my rival:", "; write my_rival"),
        ("  lstm:", "  a/lstm:", "study.yaml:6: rivals.a/lstm: a rival's name is that of a directory too: "),
        ("  lstm:", "  ..:", "study.yaml:6: rivals...: a rival's name is that of a directory too: "),
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
        ("rivals.lstm.family=attention", "unknown key rivals.lstm.family; valid are config, description, settings"),
        (
            "rivals.lstn.config=x.yaml",
            "rivals.lstn.description is missing: A sentence about it, for the report; did you mean rivals.lstm?",
        ),
        ("rivals.gru.config=x.yaml", "rivals.gru.description is missing: A sentence about it, for the report."),
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
        ("hidden: 8", "hiden: 8", "study.yaml:6: unknown key models[1].encoder.hiden; did you mean hidden?"),
        ("kind: lstm, ", "", "study.yaml:6: models[1].encoder.kind is missing; it should be one of transformer, rnn"),
        ("encoder: {kind: lstm", "encodr: {kind: lstm", "study.yaml:6: unknown key models[1].encodr; did you mean encoder?"),
        (
            "encoder: {kind: lstm, hidden: 8}",
            "encoder: lstm",
            "models[1].encoder should be a section with keys of its own, not 'lstm'; write {kind: lstm}",
        ),
        ("  - name: lstm\n    encoder: {kind: lstm, hidden: 8}", "  - lstm", "write {name: ..., encoder: ...}"),
        ("name: tiny", "encoder: {}", "study.yaml:1: unknown key encoder; did you mean models[0].encoder?"),
    ],
)
def test_mistakes_in_a_benchmark(message, line: str, replacement: str, expected: str) -> None:
    assert expected in message(ParallelismStudy, BENCHMARK.replace(line, replacement))


def test_keys_below_a_name_of_ones_own_and_below_a_list_are_written_so_that_they_can_be_found() -> None:
    assert "rivals.NAME.config" in list(dotted_keys(Comparison))
    assert "models[0].encoder.heads" in list(dotted_keys(ParallelismStudy))


@pytest.mark.parametrize(
    ("override", "keys"),
    [
        ("seed=1", ["seed"]),
        (" optimizer.learning_rate =1", ["optimizer.learning_rate"]),
        ("training={epochs: 2, early_stopping: {patience: 1}}", ["training.epochs", "training.early_stopping.patience"]),
        ("model.pooling=[mean, max]", ["model.pooling"]),
    ],
)
def test_a_setting_sets_every_key_that_stands_in_it(override: str, keys: list[str]) -> None:
    assert keys_set_by(override) == keys


@pytest.mark.parametrize(
    ("encoder", "family"),
    [
        ({"kind": "transformer", "pooling": ["attention"]}, "attention"),
        ({"kind": "convolutional", "pooling": ["attention"]}, "convolution"),
        ({"kind": "gru"}, "recurrence"),
        ({"kind": "minlstm"}, "parallel recurrence"),
        ({"kind": "lstm", "pooling": ["max", "final_state_attention"]}, "recurrence with attention"),
        ({"kind": "rnn", "intra_attention": True}, "recurrence with attention"),
    ],
)
def test_the_family_follows_from_the_model(encoder: dict[str, object], family: str) -> None:
    assert TypeAdapter(Model).validate_python(encoder).family == family


def test_families_are_those_of_the_published_reports(pytestconfig: pytest.Config) -> None:
    root = pytestconfig.rootpath
    study = load_yaml_as(ParallelismStudy, root / "configs" / "benchmark" / "default.yaml")
    families = {"parallelism": {model.name: model.encoder.family for model in study.models}}
    for file in (root / "configs" / "compare").glob("*.yaml"):
        comparison = load_yaml_as(Comparison, file)
        families[comparison.name] = {
            name: load_config(file.parent / rival.config, [*comparison.settings, *rival.settings]).model.family
            for name, rival in comparison.rivals.items()
        }
    for name, models in families.items():
        report = json.loads((root / "docs" / "reports" / f"{name}.json").read_text(encoding="utf-8"))
        published = {model["name"]: model["family"] for model in [*report.get("models", ()), *report.get("rivals", ())]}
        assert models == {called: published[called] for called in models}
