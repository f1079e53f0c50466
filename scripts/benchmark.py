"""Measure, count and explain how fast models of one size are at every length, and how they use processors."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from transformer.config.command_line import SettingsParser
from transformer.config.errors import UsageError, run_command
from transformer.config.load import dump_config, load_yaml_as
from transformer.config.parallelism import ParallelismStudy
from transformer.data.outputs import make_output_directory
from transformer.files import write_whole
from transformer.host import make_allocation_cheap

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = "configs/benchmark/default.yaml"

DESCRIPTION = """\
Three views of the same models, forward and in training: the time and the memory of a step against the length of the texts, with one core
and with all; the operations of the compiled programs and their longest chain of dependent ones; and what follows from both for any number
of processors. Writes benchmark.json, and report.html, which opens in a browser, with each chart as SVG and PNG beside it. On other devices
than CPUs it only measures; --with adds a CPU's file, which has the rest.
"""

EXAMPLES = f"""\
examples:
  python scripts/benchmark.py
  python scripts/benchmark.py 'lengths=[32,128]' rounds=3 --output runs/quick
  python scripts/benchmark.py {DEFAULT} --with runs/gpu/benchmark.json
"""


def main() -> None:
    """Run the study that the command line names."""
    parser = SettingsParser(description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", metavar="CONFIG.yaml", help=f"the study (default: {DEFAULT})")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="settings to change, such as lengths=[32,128]")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where the files go (default: runs/benchmark-NAME, NAME being the config's)"
    )
    parser.add_argument(
        "--with",
        dest="others",
        nargs="+",
        default=[],
        type=Path,
        metavar="FILE.json",
        help="benchmark.json of other machines, for the report",
    )
    arguments = parser.parse_intermixed_args()
    config, overrides = arguments.config, arguments.overrides
    if config is not None and "=" in config:
        config, overrides = None, [config, *overrides]
    # The default is found from any working directory.
    config = config or ROOT / DEFAULT
    study = load_yaml_as(ParallelismStudy, config, overrides)
    others = [_read(path) for path in arguments.others]
    directory = arguments.output or Path("runs") / f"benchmark-{study.name}"
    make_output_directory("--output", directory)
    # JAX is imported only now, so that a mistake on the command line is told at once; and it shall leave a GPU's memory to the workers.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from transformer.evaluation.machine import provenance
    from transformer.evaluation.parallelism.study import run_study
    from transformer.evaluation.report import parallelism_page, write_parallelism_charts

    head = {"kind": "benchmark", "name": study.name, **provenance()}
    figures = {**head, **run_study(study, head["machine"]["device"], lambda line: print(line, flush=True))}
    write_whole(directory / "config.yaml", dump_config(study))
    write_whole(directory / "benchmark.json", json.dumps(figures, indent=1, allow_nan=False) + "\n")
    write_whole(directory / "report.html", parallelism_page([figures, *others]))
    write_parallelism_charts([figures, *others], directory)
    print(f"written to {directory}/benchmark.json and {directory}/report.html")


def _read(path: Path) -> dict[str, Any]:
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not JSON: {error}"
        raise UsageError(f"--with {path}: {reason}; name a benchmark.json that this command wrote") from error
    if not isinstance(figures, dict) or figures.get("kind") != "benchmark":
        raise UsageError(f"--with {path}: it holds no benchmark; name a benchmark.json that this command wrote")
    return figures


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
