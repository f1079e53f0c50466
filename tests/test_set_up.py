"""Set-up passes over a Python that does not work, and never takes an interrupted set-up for a finished one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout, and beside it a folder `bin` with the only commands there are and a stand-in for pip, which installs nothing."""
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "set_up.sh", checkout / "scripts")
    (checkout / "pyproject.toml").write_text("[project.optional-dependencies]\nnothing = []\n")
    (checkout / "requirements.lock").write_text("first\n")
    (checkout / "marked.py").touch()
    (tmp_path / "pip.py").write_text("import os, sys\nsys.exit(int(os.environ.get('PIP_STATUS', '0')))\n")
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for tool in ("sh", "cmp", "cp", "dirname", "ls", "mkdir", "mktemp", "rm"):
        found = shutil.which(tool)
        assert found
        (binaries / tool).symlink_to(found)
    command(binaries / "python3.13", "exit 127")  # a shim for a Python that is not there
    return checkout


def command(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def set_up(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    beside = checkout.parent
    variables = {"PATH": str(beside / "bin"), "PYTHONPATH": str(beside), **environment}
    return subprocess.run(["sh", "scripts/set_up.sh"], cwd=checkout, env=variables, capture_output=True, text=True, check=False)


def test_without_a_working_python_it_says_what_to_install(checkout: Path) -> None:
    ended = set_up(checkout)
    assert ended.returncode == 2
    assert "no command on PATH is a working Python 3.11, 3.12 or 3.13" in ended.stderr
    ended = set_up(checkout, PYTHON="/no/such/python")
    assert ended.returncode == 2
    assert "/no/such/python is not a working Python" in ended.stderr
    assert not (checkout / ".venv").exists()


def test_it_is_done_once_and_again_when_interrupted_or_the_lock_changes(checkout: Path) -> None:
    python = os.path.realpath(sys.executable)
    command(checkout.parent / "bin" / "python3", f'[ "$2" = venv ] && set -- "$@" --without-pip; exec "{python}" "$@"')
    made = set_up(checkout)
    assert made.returncode == 0, made.stderr
    assert "Making .venv with Python 3" in made.stderr

    assert set_up(checkout).stderr == ""

    # The checkout is importable, also after both were moved.
    moved = checkout.rename(checkout.with_name("moved"))
    imported = subprocess.run(
        [moved / ".venv/bin/python", "-c", "import marked; print(marked.__file__)"], cwd="/", capture_output=True, text=True, check=False
    )
    assert Path(imported.stdout.strip()) == moved / "marked.py"

    # An extra that pyproject.toml lacks is refused, one that it has is installed and stays.
    refused = set_up(moved, EXTRAS="nothnig")
    assert refused.returncode != 0
    assert "no extra nothnig; there are nothing" in refused.stderr
    assert set_up(moved, EXTRAS="nothing").returncode == 0
    assert {path.name for path in (moved / ".venv/installed").iterdir()} == {"base", "nothing"}

    # Killed while pip was at work: everything is made anew.
    shutil.rmtree(moved / ".venv/installed")
    (moved / ".venv/half-installed").touch()
    assert set_up(moved).returncode == 0
    assert not (moved / ".venv/half-installed").exists()

    # Another lock: everything is made anew. Where pip fails the exit code says so, and the next attempt starts again.
    assert set_up(moved, EXTRAS="nothing").returncode == 0
    (moved / "requirements.lock").write_text("second\n")
    failed = set_up(moved, PIP_STATUS="1")
    assert failed.returncode == 1
    assert "set-up did not finish" in failed.stderr
    assert "Making .venv" in set_up(moved).stderr
    assert (moved / ".venv/installed/nothing").read_text() == "\n", "the extra that was there is forgotten"
    assert set_up(moved).stderr == ""
