"""The configuration reference and the editors' JSON Schema say what the config's schema says."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scripts.generate_reference import reference, schema
from transformer.config.comparison import Comparison
from transformer.config.document import parse
from transformer.config.load import load_config
from transformer.config.parallelism import ParallelismStudy
from transformer.config.schema import Config, Section
from transformer.config.sections import kinds_of, sections_in

ROOT = Path(__file__).parent.parent.parent
STUDIES = ("benchmark", "compare", "data")  # configs of other programs than train.py, and parts of configs
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name not in STUDIES)


def accepts(values: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(json.loads(schema())).is_valid(values))


@pytest.mark.parametrize(("file", "text"), [("docs/configuration.md", reference()), ("configs/schema.json", schema())])
def test_the_generated_files_are_up_to_date(file: str, text: str) -> None:
    assert (ROOT / file).read_text(encoding="utf-8") == text, "run `make docs`"


def sections_below(section: type[Section]) -> set[type[Section]]:
    inner = {each for field in section.model_fields.values() for each in sections_in(field.annotation)}
    return {section}.union(*(sections_below(each) for each in inner))


@pytest.mark.parametrize("root", [Config, Comparison, ParallelismStudy])
def test_the_reference_has_every_key_of_every_section_once(root: type[Section]) -> None:
    headings, tables = zip(*(part.split("\n", 1) for part in re.split(r"^#+ ", reference(), flags=re.MULTILINE)[1:]), strict=True)
    assert len(set(headings)) == len(headings)
    written = [re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) for table in tables]
    for section in sections_below(root):
        keys = [key for key in section.model_fields if key != "kind" or len(kinds_of(section)) > 1]
        assert keys in written, section


def test_no_description_keeps_the_indentation_of_its_source() -> None:
    assert not re.search(r"^    (?!# yaml-language-server)", reference(), re.MULTILINE)  # four spaces would make code of it


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
