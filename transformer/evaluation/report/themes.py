"""How charts look: colours that colour-blind people tell apart, on light and on dark."""

from typing import Any

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES: tuple[list[int], ...] = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [12, 4], [4, 2, 1, 2, 1, 2], [5, 5], [1, 4])
"""Shapes of points and dashes of lines, in the order of the colours: a series is told by any of the three."""

# Okabe and Ito (2008), ordered so that neighbours differ most; black and yellow, which vanish on one of the two grounds, are shaded.
LIGHT_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a3507f", "#b07c00", "#3a9bd1", "#4a4a4a", "#857b00")
DARK_COLOURS = ("#4da6e0", "#f0813a", "#2fc795", "#e09cc0", "#e6a92e", "#8fcbf0", "#c9c9c9", "#f0e442")

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def theme(colours: tuple[str, ...], ink: str, soft: str, line: str, ground: str) -> dict[str, Any]:
    """A Vega-Lite config for these colours."""
    return {
        "background": ground,
        "font": FONT,
        "view": {"stroke": None},
        "title": {"color": ink, "anchor": "start", "fontSize": 14, "fontWeight": 600, "offset": 12},
        "axis": {
            "labelColor": soft,
            "titleColor": soft,
            "labelFontSize": 11.5,
            "titleFontSize": 11.5,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "gridColor": line,
            "domainColor": line,
            "tickColor": line,
            "labelLimit": 190,
        },
        "legend": {
            "labelColor": ink,
            "titleColor": soft,
            "labelFontSize": 12,
            "titleFontSize": 11.5,
            "titleFontWeight": "normal",
            "orient": "bottom",
            "direction": "horizontal",
            "columns": 3,
            "symbolSize": 90,
            "symbolOpacity": 1,
            "labelLimit": 220,
            "rowPadding": 5,
            "columnPadding": 14,
        },
        "range": {"category": list(colours)},
        "line": {"strokeWidth": 2},
        "rule": {"color": soft},
        "text": {"color": ink},
    }


LIGHT = theme(LIGHT_COLOURS, ink="#24262b", soft="#5b616b", line="#e3e1db", ground="#ffffff")
DARK = theme(DARK_COLOURS, ink="#e8e6e1", soft="#a9aeb7", line="#363a42", ground="#1d2025")
