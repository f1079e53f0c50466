"""The configuration reference and the editors' JSON Schema say what the config's schema says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scripts.generate_reference import reference, schema
from transformer.config.document import parse
from transformer.config.load import load_config
from transformer.config.sections import dotted_keys

ROOT = Path(__file__).parent.parent.parent
STUDIES = ("benchmark", "compare", "data")  # configs of other programs than train.py, and parts of configs
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name not in STUDIES)


def accepts(values: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(json.loads(schema())).is_valid(values))


@pytest.mark.parametrize(("file", "text"), [("docs/configuration.md", reference()), ("configs/schema.json", schema())])
def test_the_generated_files_are_up_to_date(file: str, text: str) -> None:
    assert (ROOT / file).read_text(encoding="utf-8") == text, "run `make docs`"


def test_the_reference_has_every_key() -> None:
    for dotted in dotted_keys():
        assert dotted.endswith(".kind") or f"| `{dotted.rpartition('.')[2]}` |" in reference()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_here_is_valid_for_the_program_and_for_editors(path: Path) -> None:
    load_config(path)
    assert accepts(parse(path.read_text(encoding="utf-8"), str(path)).values)


def test_an_editor_accepts_a_part_that_extends_another_file() -> None:
    assert accepts({"extends": "base.yaml", "model": {"hidden": 96}})
    assert accepts({"extends": "base.yaml", "model": {"kind": "lstm"}, "training": {"early_stopping": None}})


@pytest.mark.parametrize(
    "wrong",
    [{"modle": {}}, {"model": {"kind": "lstm", "heads": 2}}, {"model": {"layers": 0}}, {"seed": "one"}, {"schedule": {"kind": "x"}}],
)
def test_an_editor_marks_what_the_program_would_refuse(wrong: dict[str, Any]) -> None:
    assert not accepts(wrong)
