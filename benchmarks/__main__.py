"""The command: `python -m benchmarks [TABLE ...]`."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.first_step import measure_first_step
from benchmarks.report import document, first_step_markdown, row_figures, table_markdown
from benchmarks.rounds import ROOT, Worker, measure
from benchmarks.tables import TABLES, TEXT_LENGTH, Table
from transformer.config.command_line import positive_integer, positive_number
from transformer.config.errors import UsageError, run_command
from transformer.data.outputs import make_output_directory
from transformer.evaluation.machine import provenance

LIBRARIES = ["torch", "transformers", "jax", "jaxlib", "flax", "optax", "numpy", "pydantic", "jaxtyping"]
NAMES = [*TABLES, "first-step"]
SHOWN = {"torch": "PyTorch", "jax": "JAX", "flax": "Flax"}
PROBE = f"""
import importlib.metadata, json, platform
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({{"python": platform.python_version(), **{{name: version(name) for name in {LIBRARIES}}}}}))
"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure this project and its peers on the same work, in turns, in one run."
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"what to measure, by default all: {', '.join(NAMES)}")
    parser.add_argument(
        "--python",
        action="append",
        metavar="PATH",
        help="an interpreter to run competitors with; may be given several times. Each competitor runs under every one that has its "
        "libraries in another version. By default this one, and .venv-parity/bin/python where it exists",
    )
    parser.add_argument("--rounds", type=positive_integer, default=8, help="alternating rounds (default: %(default)s)")
    parser.add_argument("--round-seconds", type=positive_number, default=1.0, help="least duration of a round (default: %(default)s)")
    parser.add_argument(
        "--text-steps", type=positive_integer, default=16, help="training steps in a pass over real texts (default: %(default)s)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/benchmark"),
        metavar="DIR",
        help="where benchmarks.json and benchmarks.md go (default: %(default)s)",
    )
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.tables if name not in NAMES]:
        parser.error(f"no table is named {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    return chosen


def versions(python: str) -> dict[str, str | None]:
    """The versions of Python and of the libraries that an interpreter has. Raises UsageError where it is none."""
    try:
        return json.loads(subprocess.run([python, "-c", PROBE], check=True, capture_output=True, text=True).stdout)
    except OSError as error:
        raise UsageError(f"--python {python} cannot be run: {error.strerror}; name an interpreter, such as .venv/bin/python") from error
    except (subprocess.CalledProcessError, ValueError) as error:
        raise UsageError(f"--python {python} is no Python interpreter; name one, such as .venv/bin/python") from error


def starts(
    table: Table, interpreters: dict[str, dict[str, str | None]], work: dict[str, dict[str, Any]], environment: dict[str, str]
) -> dict[str, Callable[[], Worker]]:
    """The table's rows, each under every interpreter that has its libraries in another version, by name."""
    found: dict[str, Callable[[], Worker]] = {}
    for row in table.rows:
        settings = {**table.settings, **row.settings}
        if isinstance(settings["work"], str):
            settings["work"] = work[settings["work"]]
        pythons: dict[tuple[str, ...], str] = {}
        for python, has in interpreters.items():
            installed = tuple(version for library in row.libraries if (version := has[library]))
            if len(installed) == len(row.libraries):
                pythons.setdefault(installed, python)
        for installed, python in pythons.items():
            name = f"{row.name} ({_shown_versions(row.libraries, installed, pythons)})"
            found[name] = partial(Worker, python, row.build, settings, environment)
    return found


def _shown_versions(libraries: tuple[str, ...], versions: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """The first library's version without its build, and whatever else tells the rows apart that have the same."""
    public_version = versions[0].split("+")[0]
    alike = [others for others in rows if others[0].split("+")[0] == public_version]
    differs = [len(set(column)) > 1 for column in zip(*alike, strict=True)]
    shown = [versions[0] if differs[0] else public_version, *versions[1:]]
    told = zip(libraries, shown, [True, *differs[1:]], strict=True)
    return ", ".join(f"{SHOWN.get(library, library)} {version}" for library, version, tells in told if tells)


def write_texts(table: Table, python: str, steps: int, directory: Path) -> dict[str, dict[str, Any]]:
    """Write the table's batches of real texts, and tell where each plan's are."""
    directory.mkdir()
    command = [python, "-m", "benchmarks.texts", str(table.texts), str(TEXT_LENGTH), str(steps), str(directory)]
    subprocess.run(command, check=True, cwd=ROOT)
    return {path.stem: {"file": str(path)} for path in directory.iterdir()}


def main() -> None:
    """Measure the chosen tables one after the other."""
    chosen = _arguments()
    parity = ROOT / ".venv-parity" / "bin" / "python"
    pythons = chosen.python or [sys.executable, *([str(parity)] if parity.exists() else [])]
    interpreters = {python: versions(python) for python in pythons}
    make_output_directory("--output", chosen.output)
    head = provenance(libraries=False)
    head["machine"]["load_average"] = os.getloadavg()[0]
    report: dict[str, Any] = {
        **head,
        "interpreters": list(interpreters.values()),
        "rounds": chosen.rounds,
        "round_seconds": chosen.round_seconds,
        "tables": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        # Start times are those without compilation caches.
        environment = {
            "TORCHINDUCTOR_CACHE_DIR": str(Path(scratch) / "inductor"),
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            "JAX_TRACEBACK_FILTERING": "off",
        }
        for name in chosen.tables or NAMES:
            print(name, flush=True)
            if name == "first-step":
                report["first_step"] = measure_first_step(pythons[0], runs=3)
                print("\n" + first_step_markdown(report["first_step"]), flush=True)
            else:
                table = TABLES[name]
                work = write_texts(table, pythons[0], chosen.text_steps, Path(scratch) / name) if table.texts else {}
                row_starts = starts(table, interpreters, work, environment)
                rows, failures = measure(row_starts, chosen.rounds, chosen.round_seconds, partial(print, flush=True))
                figures = [row_figures(row, rows[0]) for row in rows]
                report["tables"].append({"name": name, "title": table.title, "rows": figures, "failures": failures})
                print("\n" + table_markdown(table.title, figures, failures), flush=True)
            # After every table, so that a run that is stopped leaves what it measured.
            (chosen.output / "benchmarks.json").write_text(json.dumps(report, indent=1))
            (chosen.output / "benchmarks.md").write_text(document(report))
    print(f"written to {chosen.output}/benchmarks.json and {chosen.output}/benchmarks.md")


if __name__ == "__main__":
    run_command(main)
