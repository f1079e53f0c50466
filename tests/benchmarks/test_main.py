"""The command's files say what was measured, where and how."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.rounds import Measured
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
