"""Reports of a comparison and of a study of parallelism: one HTML file that opens offline, and its charts as pictures."""

from collections.abc import Sequence
from pathlib import Path

from transformer.evaluation.report.charts import write_pictures
from transformer.evaluation.report.comparison import comparison_page
from transformer.evaluation.report.comparison_charts import comparison_charts
from transformer.evaluation.report.figures import Figures
from transformer.evaluation.report.parallelism import parallelism_page
from transformer.evaluation.report.parallelism_charts import parallelism_charts

__all__ = ["comparison_page", "parallelism_page", "write_comparison_charts", "write_parallelism_charts"]


def write_comparison_charts(figures: Figures, directory: Path) -> list[Path]:
    """Write every chart of `comparison_page` as .svg and .png; returns the files."""
    return write_pictures(comparison_charts(figures), directory)


def write_parallelism_charts(figures: Sequence[Figures], directory: Path) -> list[Path]:
    """Write every chart of `parallelism_page` as .svg and .png; returns the files."""
    return write_pictures([chart for charts in parallelism_charts(figures).values() for chart in charts], directory)
