"""What design.md promises about imports: layers, no cycles, and commands that answer a mistake without starting JAX."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imports_are_sound(*arguments: str, root: Path = ROOT) -> tuple[bool, str]:
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())",
            *arguments,
        ],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode == 0, ended.stdout + ended.stderr


def test_each_layer_imports_only_layers_below_it_and_no_imports_go_in_a_circle() -> None:
    sound, report = imports_are_sound("--no-cache")
    assert sound, report


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("data/dataset.py", "import transformer.model.attention"),
        ("model/attention.py", "def late():\n    from transformer.training import step"),
        ("config/first.py", "import transformer.config.second"),
    ],
)
def test_the_contract_sees_a_wrong_import(tmp_path: Path, module: str, line: str) -> None:
    layers = ("data/dataset", "model/attention", "training/step", "evaluation/machine", "attention_map/page", "export/card", "search/index")
    for name in ("config/second", "config/first", *layers, "files", "host"):
        file = tmp_path / "transformer" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        (file.parent / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "transformer/config/second.py").write_text("import transformer.config.first\n")
    sound, report = imports_are_sound("--no-cache", root=tmp_path)
    assert sound, report
    (tmp_path / "transformer" / module).write_text(line + "\n")
    sound, report = imports_are_sound("--no-cache", root=tmp_path)
    assert not sound, report


def test_config_needs_neither_jax_nor_the_network() -> None:
    loaded = "import sys, transformer.config.load; print(sorted({'jax', 'flax', 'datasets', 'requests'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
