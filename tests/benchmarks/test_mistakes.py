"""What a person mistyped is told at once, in a line."""

import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks.__main__
from transformer.config.errors import run_command

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
    ],
)
def test_a_mistyped_argument_is_told_in_the_last_line(
    command: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as leaving:
        run_command(benchmarks.__main__.main)
    told = capsys.readouterr()
    assert leaving.value.code == 2
    assert message in told.err.splitlines()[-1]
    assert not told.out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("benchmarks.overlap nosuch.yaml", "nosuch.yaml"),
        ("benchmarks.search --quality TYPO", "error: TYPO is not a run directory"),
    ],
)
def test_so_it_is_of_commands_that_start_anew(command: str, message: str) -> None:
    """Their process is replaced by one whose memory is allocated in another way."""
    ended = subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert message in ended.stderr.splitlines()[-1]
    assert not ended.stdout
