"""The table at a training's end."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FIGURES = (("accuracy", "accuracy", ".2%"), ("macro_f1", "macro-F1", ".4f"), ("perplexity", "perplexity", ".2f"), ("loss", "loss", ".4f"))
"""What is shown of a split's scores, where it is there: its name, what it is called, and its digits."""


def show_summary(summary: dict[str, Any], directory: Path) -> None:
    """Print the figures of a finished run."""
    figures = Table.grid(padding=(0, 2))
    figures.add_column()
    figures.add_column(overflow="fold")  # a path that is cut short with an ellipsis helps nobody
    for split in ("test", "validation"):
        scores = summary[split] or {}
        for name, shown, digits in FIGURES:
            if name in scores and (name != "loss" or "macro_f1" not in scores):
                figures.add_row(f"{split} {shown}", f"{scores[name]:{digits}}")
    seconds, tokens = summary["seconds"], summary["tokens"]
    figures.add_row("best step", f"{summary['best_step']} of {summary['steps']}")
    figures.add_row(
        "time",
        f"{seconds['total']:.0f} s: training {seconds.get('train', 0):.0f}, compilation {seconds.get('compile', 0):.0f}, "
        f"evaluation {seconds.get('evaluate', 0):.0f}, data {seconds.get('data', 0):.0f}, saving {seconds.get('save', 0):.0f}, waiting for "
        f"batches {seconds.get('wait', 0):.1f}",
    )
    if seconds.get("train"):
        figures.add_row(
            "real tokens a second", f"{tokens['real'] / seconds['train']:,.0f} ({tokens['real'] / tokens['computed']:.1%} not padding)"
        )
    if summary["test_rows_in_train"]:
        figures.add_row("test texts also in training", str(summary["test_rows_in_train"]))
    figures.add_row("run", str(directory))
    console = Console(markup=False, emoji=False)
    console.print()
    console.print(figures)
