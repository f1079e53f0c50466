"""The command's files say what was measured, where and how."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.rounds import Measured
from benchmarks.tables import FLAX, HUGGING_FACE, TORCH, Row, Table
from transformer.host import usable_cores


def test_a_run_writes_what_was_measured_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Measured("ours", 1000, 2, 200, 200, 3.0, 5, [0.100, 0.110, 0.120], 2**29, 0.5)
    monkeypatch.setattr(command, "measure", lambda *_: ([row], {"theirs": "no compiler"}))
    monkeypatch.setitem(sys.modules, "jax", None)  # the process that asks needs none
    monkeypatch.setattr(sys, "argv", ["benchmarks", "tiny", "--python", sys.executable, "--output", str(tmp_path / "out")])
    command.main()
    figures = json.loads((tmp_path / "out" / "benchmarks.json").read_text())
    assert set(figures) == {"command", "date", "commit", "machine", "interpreters", "rounds", "round_seconds", "tables"}
    assert set(figures["machine"]) == {"processor", "cores", "memory_bytes", "system", "load_average"}
    assert figures["machine"]["cores"] == usable_cores()
    assert [found["name"] for found in figures["tables"][0]["rows"]] == ["ours"]
    written = (tmp_path / "out" / "benchmarks.md").read_text()
    for words in (f"`{figures['command']}`, {figures['date']}", figures["machine"]["processor"], "| ours |", "Not measured: theirs"):
        assert words in written


def labels(interpreters: list[dict[str, str | None]]) -> list[str]:
    """The rows of a table of three competitors under these interpreters, by name."""
    rows = [Row("PyTorch", "", TORCH), Row("BERT", "", HUGGING_FACE), Row("Flax", "", FLAX)]
    absent = dict.fromkeys(command.LIBRARIES)
    table = Table("A table", rows, {"work": {}})
    return list(command.starts(table, {str(number): {**absent, **has} for number, has in enumerate(interpreters)}, {}, {}))


def test_a_row_names_the_version_of_its_first_library() -> None:
    # The interpreters of docs/benchmarks.md: the first two have the same JAX and Flax, the third has others.
    old: dict[str, str | None] = {"jax": "0.10.2", "flax": "0.12.8"}
    peers = {"torch": "2.13.0+cpu", "transformers": "5.23.0", **old}
    assert labels([old, peers, {"jax": "0.12.0.1", "flax": "0.12.12"}]) == [
        "PyTorch (PyTorch 2.13.0)",
        "BERT (PyTorch 2.13.0)",
        "Flax (JAX 0.10.2)",
        "Flax (JAX 0.12.0.1)",
    ]


def test_interpreters_that_differ_in_a_further_library_have_rows_of_their_own() -> None:
    first: dict[str, str | None] = {"torch": "2.13.0", "transformers": "5.23.0", "jax": "0.10.2", "flax": "0.12.8"}
    second = {**first, "transformers": "4.57.1", "flax": "0.12.0"}
    third: dict[str, str | None] = {"jax": "0.12.0", "flax": "0.12.12"}
    assert labels([first, second, third]) == [
        "PyTorch (PyTorch 2.13.0)",
        "BERT (PyTorch 2.13.0, transformers 5.23.0)",
        "BERT (PyTorch 2.13.0, transformers 4.57.1)",
        "Flax (JAX 0.10.2, Flax 0.12.8)",
        "Flax (JAX 0.10.2, Flax 0.12.0)",
        "Flax (JAX 0.12.0)",
    ]


def test_builds_of_one_version_have_rows_of_their_own() -> None:
    assert labels([{"torch": "2.13.0+cpu"}, {"torch": "2.13.0+cu130"}]) == [
        "PyTorch (PyTorch 2.13.0+cpu)",
        "PyTorch (PyTorch 2.13.0+cu130)",
    ]
