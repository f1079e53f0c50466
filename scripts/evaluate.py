"""Measure a trained run, or several together, on a split of their data: a table for people, JSON for programs."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from transformer.config.errors import run_command
from transformer.data.outputs import check_output_file, write_output_file
from transformer.data.sources import SPLITS
from transformer.host import make_allocation_cheap

DESCRIPTION = """\
Measure a trained run on a split of its data: accuracy, macro-F1, log loss, calibration, a row a class, the confusion matrix (or, where
that is too wide, the pairs of classes that are confused most), and texts a second without compilation. Several runs, such as those of
several seeds, are measured as one: their probabilities are averaged. With --baseline, also the difference from another run on the same
examples: 95 % interval and p-value of a paired bootstrap.
"""

EXAMPLES = """\
examples:
  python scripts/evaluate.py runs/quickstart
  python scripts/evaluate.py runs/seed-0 runs/seed-1 runs/seed-2
  python scripts/evaluate.py runs/transformer --baseline runs/lstm --output difference.json
"""


def main() -> None:
    """Measure the run that the command line names."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN_DIR", nargs="+", help="directory of a run that train.py finished; of several, the average")
    parser.add_argument("--split", choices=SPLITS, default="test", help="which examples (default: %(default)s)")
    parser.add_argument("--baseline", metavar="OTHER_RUN_DIR", help="a run on the same data to compare with")
    parser.add_argument("--output", metavar="FILE.json", type=Path, help="write every figure here")
    arguments = parser.parse_args()
    if arguments.output:
        check_output_file("--output", arguments.output)
    # JAX is imported only now, so that a mistake on the command line is told at once.
    from transformer.evaluation.evaluate import average, compare, evaluate, predict_split
    from transformer.training.devices import set_up_jax

    set_up_jax()
    notes = Console(stderr=True, markup=False, emoji=False, highlight=False)
    prediction = average([predict_split(run, arguments.split, notes.print) for run in arguments.runs])
    result = {"split": arguments.split, **evaluate(prediction)}
    if arguments.baseline:
        result["baseline"] = compare(prediction, predict_split(arguments.baseline, arguments.split, notes.print))
    if arguments.output:
        figures = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_output_file("--output", arguments.output, figures)
    # A pipe has no width, and Rich would take 80 columns.
    width = None if sys.stdout.isatty() else 140
    _print_tables(result, Console(markup=False, emoji=False, highlight=False, width=width))


def _print_tables(result: dict[str, Any], console: Console) -> None:
    def show(heading: str, table: Table) -> None:
        # A table's own title would be wrapped to the table's width.
        console.print(heading, soft_wrap=True)
        console.print(table)

    show(f"{result['run']}, {result['split']}: {result['examples']:,} examples", _headline_table(result))
    if comparison := result.get("baseline"):
        heading = f"difference from {comparison['run']} (paired bootstrap, {comparison['resamples']:,} draws)"
        show(heading, _baseline_table(comparison))
    show("classes", _class_table(result["per_class"]))
    names, confusion = [row["label"] for row in result["per_class"]], np.array(result["confusion_matrix"])
    matrix = _confusion_table(names, confusion)
    if len(names) <= 20 and console.measure(matrix).minimum <= console.width:
        show("examples by true class (rows) and predicted class (columns)", matrix)
    else:
        show("most confused", _confused_pairs_table(names, confusion))


def _headline_table(result: dict[str, Any]) -> Table:
    table = Table()
    for column in ("accuracy", "macro-F1", "log loss", "calibration error", "texts/s"):
        table.add_column(column, justify="right")
    table.add_row(
        f"{result['accuracy']:.2%}",
        f"{result['macro_f1']:.4f}",
        f"{result['log_loss']:.4f}",
        f"{result['expected_calibration_error']:.4f}",
        f"{result['texts_per_second']:,.0f}",
    )
    return table


def _baseline_table(comparison: dict[str, Any]) -> Table:
    table = Table("")
    for column in ("difference", f"{comparison['level']:.0%} interval", "p-value"):
        table.add_column(column, justify="right")
    for name, key in (("accuracy", "accuracy"), ("macro-F1", "macro_f1")):
        measured = comparison[key]
        interval = f"{measured['low']:+.4f} to {measured['high']:+.4f}"
        table.add_row(name, f"{measured['difference']:+.4f}", interval, f"{measured['p_value']:.4f}")
    return table


def _class_table(rows: list[dict[str, Any]]) -> Table:
    table = Table("class")
    for column in ("precision", "recall", "F1", "support"):
        table.add_column(column, justify="right")
    for row in rows:
        ratios = ("–" if row[key] is None else f"{row[key]:.4f}" for key in ("precision", "recall", "f1"))
        table.add_row(row["label"], *ratios, f"{row['support']:,}")
    return table


def _confusion_table(names: list[str], confusion: np.ndarray) -> Table:
    table = Table("", padding=(0, 0))
    for index in range(len(names)):
        table.add_column(str(index), justify="right", no_wrap=True)
    for index, (name, counts) in enumerate(zip(names, confusion, strict=True)):
        table.add_row(f"{index} {name}", *(str(count) if count else "·" for count in counts))
    return table


def _confused_pairs_table(names: list[str], confusion: np.ndarray) -> Table:
    table = Table("true", "predicted")
    table.add_column("examples", justify="right")
    errors = confusion * ~np.eye(len(names), dtype=bool)
    for index in np.argsort(-errors, axis=None, kind="stable")[:20]:
        true, predicted = np.unravel_index(index, errors.shape)
        if errors[true, predicted]:
            table.add_row(names[true], names[predicted], str(errors[true, predicted]))
    return table


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
