"""What all charts share: a chart's data, how its series are told apart, and pictures of it without a browser."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import altair as alt
import vl_convert

from transformer.evaluation.report.themes import DASHES, LIGHT, SHAPES

PICTURE_WIDTH = 640
PICTURE_SCALE = 2

LEGEND = "A click on a name in the legend shows it alone, shift and click adds another, and a click on the background shows all."

Row = dict[str, str | float | int | None]


@dataclass(frozen=True)
class Chart:
    """One chart of a report."""

    key: str
    """Its name in file names and addresses: lower case letters, digits and hyphens."""
    title: str
    caption: str
    specification: dict[str, Any]
    """Vega-Lite, as wide as its place, without colours of its own."""


def chart(key: str, title: str, caption: str, layers: Sequence[alt.Chart], height: int = 260) -> Chart:
    """A chart of layers, the first at the back, as wide as its place."""
    sized = alt.layer(*layers).properties(width="container", height=height, autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
    # Altair's own theme would be baked in; the page brings one for light and one for dark.
    specification = {**sized.to_dict(), "config": {}, "description": title}
    return Chart(key, title, caption, specification)


def data(rows: Sequence[Row]) -> alt.InlineData:
    """Rows as inline data; unlike a data frame's they are not limited in number."""
    return alt.InlineData(values=list(rows))


def filter_by_legend(field: str) -> alt.Parameter:
    """A selection in the legend, as LEGEND describes it.

    A toggle at every click would be simpler to use, but Vega-Lite repeats the last click in a legend at each click on a mark. The parameter
    belongs to the first layer that has the legend: from no other does Vega-Lite take that the legend can be clicked.
    """
    return alt.selection_point(name=f"chosen_{field}", fields=[field], bind="legend", clear=False)


def colour(names: Sequence[str], *, shown: Sequence[str] | None = None) -> alt.Color:
    """The colours of the series, in this order whatever is shown of them; the legend tells those of `shown`, or is left out."""
    return alt.Color("series:N", title=None, scale=alt.Scale(domain=list(names)), legend=_legend(shown))


def point_shape(names: Sequence[str], *, shown: Sequence[str] | None = None) -> alt.Shape:
    """The shapes of the points of the series."""
    shapes = [SHAPES[index % len(SHAPES)] for index in range(len(names))]
    return alt.Shape("series:N", title=None, scale=alt.Scale(domain=list(names), range=shapes), legend=_legend(shown))


def dash(names: Sequence[str], field: str = "series", *, shown: Sequence[str]) -> alt.StrokeDash:
    """The dashes of the lines of the series; what is no series of its own has its legend above the chart, apart from theirs."""
    dashes = [DASHES[index % len(DASHES)] for index in range(len(names))]
    legend = _legend(shown, "bottom" if field == "series" else "top")
    return alt.StrokeDash(f"{field}:N", title=None, scale=alt.Scale(domain=list(names), range=dashes), legend=legend)


def _legend(shown: Sequence[str] | None, orient: Literal["bottom", "top"] = "bottom") -> alt.Legend | None:
    return None if shown is None else alt.Legend(values=list(shown), orient=orient)


def write_pictures(charts: Sequence[Chart], directory: Path) -> list[Path]:
    """Write each chart as SVG and PNG, on a light ground, without a browser; returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for drawn in charts:
        specification = copy.deepcopy(drawn.specification) | {"title": drawn.title, "width": PICTURE_WIDTH, "config": LIGHT}
        svg = vl_convert.vegalite_to_svg(specification)
        picture = directory / f"{drawn.key}.svg"
        picture.write_text(svg, encoding="utf-8")
        photograph = directory / f"{drawn.key}.png"
        photograph.write_bytes(vl_convert.svg_to_png(svg, scale=PICTURE_SCALE))
        written += [picture, photograph]
    return written
