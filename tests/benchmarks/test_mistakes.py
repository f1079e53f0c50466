"""What a person mistyped is told at once, in a line."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("benchmarks --python /no/such tiny", "error: --python /no/such cannot be run: No such file or directory; name an interpreter"),
        ("benchmarks --python true tiny", "error: --python true is no Python interpreter; name one, such as .venv/bin/python"),
        ("benchmarks --python false tiny", "error: --python false is no Python interpreter; name one, such as .venv/bin/python"),
        ("benchmarks --rounds 0 tiny", "argument --rounds: '0' is not a whole number from 1"),
        ("benchmarks --round-seconds 0 tiny", "argument --round-seconds: '0' is not a number above 0"),
        ("benchmarks --text-steps -1 tiny", "argument --text-steps: '-1' is not a whole number from 1"),
        (f"benchmarks --output {__file__}/out tiny", "error: --output "),
        ("benchmarks.overlap nosuch.yaml", "nosuch.yaml"),
        ("benchmarks.search --rounds none", "argument --rounds: 'none' is not a whole number from 1"),
        ("benchmarks.search --round-seconds nan", "argument --round-seconds: 'nan' is not a number above 0"),
        ("benchmarks.search --quality TYPO", "error: TYPO is not a run directory"),
    ],
)
def test_a_mistake_is_told_in_its_last_line(command: str, message: str) -> None:
    ended = subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert message in ended.stderr.splitlines()[-1]
    assert not ended.stdout
