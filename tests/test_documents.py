"""Documents for readers: snippets run, links and commands lead somewhere, pictures are pictures, and both READMEs say the same."""

import contextlib
import io
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.draw_pictures import snippets

ROOT = Path(__file__).parent.parent
ARTICLE = ROOT / "docs" / "attention.md"
DOCUMENTS = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[([^]]*)\]\(([^)\s]+)\)")


def test_the_snippets_of_the_article_in_code_print_what_stands_below_them() -> None:
    namespace: dict[str, Any] = {}
    found = snippets(ARTICLE)
    assert len(found) >= 10
    with np.printoptions():  # a snippet sets how arrays print
        for code, expected in found:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, ARTICLE, "exec"), namespace)
            line = len(code) - len(code.lstrip("\n")) + 1
            assert printed.getvalue() == expected, f"{ARTICLE.name}, snippet at line {line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_that_exist_and_hold_what_they_name(document: Path) -> None:
    missing = []
    for name, target in LINK.findall(document.read_text(encoding="utf-8")):
        if re.match(r"https?:", target):
            continue
        file = document.parent / target.partition("#")[0]
        if not file.exists():
            missing.append(target)
        elif file.suffix == ".py" and (word := re.fullmatch(r"`(\w+)`", name)):
            defined = rf"^(def|class) {word[1]}\b"
            if not re.search(defined, file.read_text(encoding="utf-8"), re.MULTILINE):
                missing.append(f"{target} defines no {word[1]}")
    assert not missing


def named(text: str) -> Iterator[tuple[str, bool]]:
    """What a text has a reader type or open, and whether it is there. Words in capitals stand for names of the reader's choice."""
    for path in re.findall(r"(?<![\w/])(?:configs|scripts|benchmarks)/[\w/]+\.(?:yaml|py)\b", text):
        yield path, any(ROOT.glob(re.sub(r"\b[A-Z]+\b", "*", path)))
    for module in re.findall(r"-m (benchmarks(?:\.\w+)*)", text):
        path = ROOT / module.replace(".", "/")
        yield module, path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for target in re.findall(r"(?:`|^#? {2,})make ([a-z-]+)", text, re.MULTILINE):
        yield f"make {target}", target in targets


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, *sorted((ROOT / "configs").rglob("*.yaml"))], ids=lambda path: str(path.relative_to(ROOT))
)
def test_configs_scripts_benchmarks_and_targets_that_are_named_exist(document: Path) -> None:
    assert [name for name, exists in named(document.read_text(encoding="utf-8")) if not exists] == []


def test_a_name_of_what_is_not_there_is_seen() -> None:
    text = """
    make tea
    `make train` and make no mistake; [a config](configs/quickstart.yaml), configs/SET/transformer.yaml, configs/SET/dragon.yaml
    .venv/bin/python scripts/predict.py x && python scripts/predicted.py && python -m benchmarks.search, python -m benchmarks,
    python -m benchmarks.quick."""
    assert [name for name, exists in named(text) if exists] == [
        "configs/quickstart.yaml",
        "configs/SET/transformer.yaml",
        "scripts/predict.py",
        "benchmarks.search",
        "benchmarks",
        "make train",
    ]
    missing = [name for name, exists in named(text) if not exists]
    assert missing == ["configs/SET/dragon.yaml", "scripts/predicted.py", "benchmarks.quick", "make tea"]


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "pictures").glob("*.svg")), ids=lambda path: path.name)
def test_a_picture_is_one_and_some_document_shows_it(picture: Path) -> None:
    assert ET.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert any(f"pictures/{picture.name}" in document.read_text(encoding="utf-8") for document in DOCUMENTS)


def sections(document: str) -> list[str]:
    return re.split(r"^## ", (ROOT / document).read_text(encoding="utf-8"), flags=re.MULTILINE)


def numbers(text: str) -> list[str]:
    """All figures, with their per cent sign; not those that are part of a name, such as float32, R8 and Apache-2.0."""
    return [re.sub(r"\s", "", figure) for figure in re.findall(r"(?<![A-Za-z0-9_./-])\d+(?:[.,]\d+)*(?: ?%)?", text)]


def rows(text: str) -> list[list[str]]:
    return [numbers(line) for line in text.splitlines() if line.startswith("|") and numbers(line)]


def commands(text: str) -> set[str]:
    """What a reader can type: blocks, a line each without its comment, and inline code."""
    fenced = re.findall(r"^```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in prose.splitlines() if line.startswith("    ")] + "".join(fenced).splitlines()
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    return {*inline, *(line.split("#")[0].rstrip() for line in lines)} - {""}


def test_the_chinese_readme_has_the_figures_and_commands_of_the_english_one_section_by_section() -> None:
    english, chinese = sections("README.md"), sections("README.zh-CN.md")
    assert len(english) == len(chinese)
    for ours, theirs in zip(english, chinese, strict=True):
        where = ours.partition("\n")[0]
        assert Counter(numbers(theirs)) == Counter(numbers(ours)), where
        assert [row for row in rows(ours) if row not in rows(theirs)] == [], where
        assert commands(theirs) == commands(ours), where
