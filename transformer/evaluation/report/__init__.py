"""Reports of a comparison and of a benchmark: one HTML file that opens offline, and its charts as pictures."""

from collections.abc import Sequence
from pathlib import Path

from transformer.evaluation.report.charts import write_pictures
from transformer.evaluation.report.comparison import comparison_page
from transformer.evaluation.report.comparison_charts import comparison_charts
from transformer.evaluation.report.figures import Figures
from transformer.evaluation.report.parallelism import parallelism_page
from transformer.evaluation.report.parallelism_charts import parallelism_charts

__all__ = ["comparison_page", "parallelism_page", "write_charts"]


def write_charts(figures: Figures | Sequence[Figures], directory: Path) -> list[Path]:
    """Write every chart of a comparison, or of the benchmarks of any number of machines, as .svg and .png; returns the files.

    `figures` is what `comparison_page` takes (a dictionary) or what `parallelism_page` takes (a list of them).
    """
    if isinstance(figures, dict):
        return write_pictures(comparison_charts(figures), directory)
    return write_pictures([chart for charts in parallelism_charts(figures).values() for chart in charts], directory)
