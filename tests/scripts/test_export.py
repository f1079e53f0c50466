"""export.py: what it writes is read and run without this project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = ["the small house near water fins scales", "bone leash barks", "", "old cat " * 30, "unbekannte Wörter 未知", "\ufeff[CLS] \x00"]
PAIRS = [json.dumps(pair) for pair in (["the house of old", "fins scales water"], ["", "barks " * 40], ["seen " * 40, ""])]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment in which our package cannot be imported, wherever it is installed."""
    directory = tmp_path_factory.mktemp("without")
    (directory / "transformer.py").write_text("raise ImportError('this project is not here')\n")
    return {**os.environ, "PYTHONPATH": str(directory), "LC_ALL": "C"}


def run(*command, texts=(), **options):
    content = "".join(f"{text}\n" for text in texts).encode()
    return subprocess.run([sys.executable, *map(str, command)], input=content, capture_output=True, check=False, **options)


def answers(output):
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize(("name", "texts"), [("good", TEXTS * 7), ("pairs", PAIRS)])
def test_a_program_labels_texts_without_this_project(trained, command, capsys, environment, tmp_path, name, texts):
    """More texts than are computed at once, and in the last batch fewer; each as scripts/predict.py labels it."""
    # A process of its own, since shape checks know no sizes but numbers.
    exported = run(ROOT / "scripts" / "export.py", trained / name, tmp_path / "out", "--format", "stablehlo")
    assert (exported.returncode, exported.stderr) == (0, b"")
    found = run(tmp_path / "out" / "predict.py", texts=texts, env=environment, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (0, b"")
    assert command("predict", trained / name, stdin="".join(f"{text}\n" for text in texts).encode()) == 0
    expected = answers(capsys.readouterr().out)
    assert len(expected) == len(texts)
    for mine, theirs in zip(answers(found.stdout.decode()), expected, strict=True):
        assert mine["label"] == theirs["label"]
        assert mine["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-5)
    if name == "pairs":
        refused = run(tmp_path / "out" / "predict.py", "no pair", env=environment)
        assert refused.returncode == 2
        assert b"text 1 is not a pair" in refused.stderr


def test_what_has_no_place_in_the_hugging_face_layout_is_refused(trained, command, capsys, tmp_path):
    assert command("export", trained / "good", tmp_path / "out", "--format", "huggingface") == 2
    message = capsys.readouterr().err
    assert "train one that can, with" in message
    assert "model.positions=rotary" in message
    assert not any(tmp_path.iterdir())


def test_a_directory_that_is_not_empty_is_refused_before_anything_is_read(command, capsys, tmp_path):
    (tmp_path / "mine").touch()
    assert command("export", tmp_path / "no run", tmp_path, "--format", "stablehlo") == 2
    assert f"{tmp_path} exists and is not an empty directory" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_directory_that_is_no_run_is_refused(command, capsys, tmp_path):
    assert command("export", tmp_path / "no run", tmp_path / "out", "--format", "huggingface") == 2
    assert "is not a run directory" in capsys.readouterr().err


def test_help_tells_the_whole_contract(command, capsys):
    assert command("export", "--help") == 0
    text = capsys.readouterr().out
    for word in ("RUN_DIR", "OUT", "huggingface", "stablehlo", "AutoModelForMaskedLM", "predict.py", "README.md"):
        assert word in text


def test_a_damaged_run_is_named_and_not_the_disk(trained, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(trained / "hasty", damaged)
    (damaged / "environment.json").write_text("{")
    exported = run(ROOT / "scripts" / "export.py", damaged, tmp_path / "out", "--format", "stablehlo")
    assert exported.returncode == 2
    assert f"{damaged / 'environment.json'} cannot be read" in exported.stderr.decode()
    assert not (tmp_path / "out").exists()
