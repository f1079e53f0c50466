"""Train rivals on the same texts, tokens, epochs and search, test them once, and report which is better."""

import argparse
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from transformer.config.command_line import SettingsParser
from transformer.config.comparison import Comparison
from transformer.config.errors import RunError, run_command
from transformer.config.load import load_yaml_as
from transformer.data.outputs import make_output_directory
from transformer.files import write_whole
from transformer.host import make_allocation_cheap

ROOT = Path(__file__).resolve().parent.parent

DESCRIPTION = """\
Compare models: train each at several learning rates and choose by validation accuracy, train the choice with every seed, read the test
rows once, and write report.json and report.html (with each chart as SVG and PNG beside it). Each training is a run of train.py under
DIR/runs; one that is finished is not repeated, so the same command goes on after a stop.
"""

EXAMPLES = """\
examples:
  python scripts/compare.py configs/compare/reuters_r8.yaml
  python scripts/compare.py configs/compare/newsgroups.yaml 'seeds=[0]' --output /tmp/quick
"""


def main() -> None:
    """Train, test, write the report, and print its summary."""
    parser = SettingsParser(description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="CONFIG.yaml", help="the comparison; configs/compare/ has them")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="settings to change, such as seeds=[0,1]")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where runs and reports go; runs/compare-NAME by default")
    arguments = parser.parse_intermixed_args()
    comparison = load_yaml_as(Comparison, arguments.config, arguments.overrides)
    output = arguments.output or Path("runs") / f"compare-{comparison.name}"
    # JAX is imported only now, so that a mistake on the command line is told at once.
    from transformer.evaluation.comparison import load_rivals, run_comparison
    from transformer.evaluation.report import comparison_page, write_comparison_charts
    from transformer.evaluation.report.comparison_sentences import comparison_sentences
    from transformer.training.devices import set_up_jax

    set_up_jax()
    console = Console(markup=False, emoji=False, highlight=False)
    rivals = load_rivals(comparison, Path(arguments.config).parent, console.print)
    make_output_directory("--output", output)
    figures = run_comparison(comparison, rivals, output, _train, console.print)
    write_whole(output / "report.json", json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(output / "report.html", comparison_page(figures))
    write_comparison_charts(figures, output)
    for sentence in comparison_sentences(figures):
        console.print(sentence)
    console.print(f"\nreport: {output / 'report.html'}")


def _train(config: Path, directory: Path) -> None:
    """A process of its own for each training, so that memory and time are its own, exactly as if a person had typed the command."""
    # In a session of its own it gets no Ctrl-C from the terminal, and is told to stop once, from here.
    command = [sys.executable, str(ROOT / "train.py"), str(config), "--run-dir", str(directory)]
    process = subprocess.Popen(command, start_new_session=True)
    previous = {number: signal.signal(number, lambda *_: process.terminate()) for number in (signal.SIGTERM, signal.SIGINT)}
    code = process.wait()
    for number, handler in previous.items():
        signal.signal(number, handler)
    # Told to stop before its first step, when there is nothing to save, it ends at once.
    if code not in {0, -signal.SIGTERM}:
        raise RunError(f"the training in {directory} failed, as told above; correct that, then run the same command again: it goes on")
    if not (directory / "summary.json").exists():
        print(f"To go on with the comparison: {shlex.join(['python', *sys.argv])}")
        sys.exit(0)


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
