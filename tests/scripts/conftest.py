import importlib.util
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.scripts.tiny import CONFIG, ROWS
from transformer.config import schema
from transformer.training.loop import train

ROOT = Path(__file__).parents[2]
ANIMALS = {"cat": ["whiskers", "purrs", "mouse"], "dog": ["barks", "leash", "bone"], "[bold]魚": ["scales", "fins", "water"]}
OTHER_WORDS = ["the", "a", "of", "and", "seen", "today", "near", "house", "small", "old"]


def write_rows(path: Path, rows: int, seed: int, pairs: bool = False) -> None:
    """Texts that tell of an animal, labelled with it; a pair has the telling word in its second text only."""
    generator = np.random.default_rng(seed)
    names = list(ANIMALS)
    lines = []
    for row in range(rows):
        label = names[row % 3]
        words = list(generator.choice(OTHER_WORDS, generator.integers(2, 20)))
        telling = list(generator.choice(ANIMALS[label], 3))
        texts = {"first": " ".join(words), "second": " ".join(telling)} if pairs else {"text": " ".join(words + telling)}
        lines.append(json.dumps({**texts, "label": label}, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def tiny_config(data: dict, **training: object) -> dict:
    return {
        "name": "tiny",
        "data": {"validation_fraction": 0.2, "maximum_length": 32, **data},
        "tokenizer": {"vocabulary_size": 96, "minimum_frequency": 1},
        "batching": {"tokens": 512, "length_groups": 1},
        "model": {"kind": "transformer", "width": 16, "layers": 1, "feed_forward": 32},
        "optimizer": {"learning_rate": 0.01},
        "training": training,
    }


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A directory with three runs: `good`, `hasty` (the same data, one step), and `pairs` (data in `pairs.jsonl`, no test split)."""
    directory = tmp_path_factory.mktemp("trained")
    write_rows(directory / "train.jsonl", 150, seed=0)
    write_rows(directory / "test.jsonl", 40, seed=1)
    write_rows(directory / "pairs.jsonl", 75, seed=2, pairs=True)
    files = {"kind": "files", "train": [{"path": str(directory / "train.jsonl")}], "test": [{"path": str(directory / "test.jsonl")}]}
    train_tiny(tiny_config({"source": files}, epochs=4), directory / "good")
    train_tiny(tiny_config({"source": files}, maximum_steps=1), directory / "hasty")
    files = {"kind": "files", "train": [{"path": str(directory / "pairs.jsonl")}]}
    train_tiny(tiny_config({"source": files, "text": ["first", "second"]}, epochs=6), directory / "pairs")
    return directory


def train_tiny(config: dict, directory: Path) -> None:
    train(schema.Config.model_validate(config), directory)


@pytest.fixture
def load_script():
    """Imports a command by its name, `train` or one of scripts/; each time anew."""

    def load(name):
        folder = ROOT if name == "train" else ROOT / "scripts"
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        return script

    return load


@pytest.fixture
def command(monkeypatch, load_script):
    """Runs a command's main function in this process: (name, arguments, standard input) -> exit code."""

    def run(name, *arguments, stdin=b""):
        script = load_script(name)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        if isinstance(stdin, bytes):
            stdin = io.TextIOWrapper(io.BytesIO(stdin))
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(SystemExit) as leaving:
            script.run_command(script.main)
        return leaving.value.code

    return run


def contents(directory):
    """Every file and directory that a person would see afterwards, the cache's finished entries apart."""
    paths = (path for path in directory.rglob("*") if "cache" not in path.parts or ".partial" in str(path))
    return {str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory with a config and data that train."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENCODER_TRAINER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "train.csv").write_text(ROWS)
    (tmp_path / "test.csv").write_text(ROWS)
    return tmp_path


@pytest.fixture
def refuse(work, command, capsys):
    """Runs a command that must be refused with a message of these words, and must leave the working directory as it was."""

    def run(words, name, *arguments, **options):
        before = contents(work)
        assert command(name, *arguments, **options) == 2
        error = capsys.readouterr().err
        assert contents(work) == before
        assert error.startswith(("error: ", "usage: "))
        assert "Traceback" not in error
        for word in words:
            assert word in error

    return run
