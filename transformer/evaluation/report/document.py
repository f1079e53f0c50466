"""One HTML file that needs no other: style, scripts and data inside."""

import functools
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import vl_convert

from transformer.evaluation.report.charts import Chart
from transformer.evaluation.report.figures import Figures, at, machine_name, name, section
from transformer.evaluation.report.tables import table
from transformer.evaluation.report.themes import DARK, LIGHT
from transformer.evaluation.report.wording import UNKNOWN, count, memory

HERE = Path(__file__).parent


def page(title: str, body: str, *, styles: Sequence[str] = (), scripts: Sequence[str] = ()) -> str:
    """A whole page; `body`, `styles` and `scripts` are trusted, `title` is not."""
    written = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{"".join([asset("style.css"), *styles])}</style>
</head>
<body>
{body}
{"".join(f"<script>{_script(script)}</script>" for script in scripts)}
</body>
</html>
"""
    # Half a surrogate pair in a name cannot be written to a file.
    return written.encode("utf-8", "replace").decode("utf-8")


def chart_page(title: str, sections: Sequence[str]) -> str:
    """A page of the sections that are not empty, with what draws their charts and sorts their tables.

    That is the colours, then Vega, Vega-Lite and vega-embed, once, and the page's own few lines.
    """
    body = [*filter(None, sections), json_block("themes", {"light": LIGHT, "dark": DARK})]
    return page(title, "\n".join(body), scripts=[_vega(), asset("charts.js"), asset("tables.js")])


def json_block(identifier: str, value: Any) -> str:
    """Data for a script, as an element that no text inside can end."""
    return f'<script type="application/json" id="{escape(identifier)}">{inert_json(value)}</script>'


def inert_json(value: Any) -> str:
    """JSON without "<", so that neither an end tag nor a comment can begin inside a script element."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def header(kind: str, title: str, about: str) -> str:
    """The page's head: what it is."""
    return (
        f'<header><p class="kind">{escape(kind)}</p><h1 dir="auto">{escape(title)}</h1>'
        f'<p class="about" dir="auto">{escape(about)}</p></header>'
    )


def summary(heading: str, sentences: Sequence[str]) -> str:
    """What was found, its first sentence largest."""
    lead, *rest = sentences or ["Nothing was measured yet."]
    items = "".join(f'<li dir="auto">{escape(sentence)}</li>' for sentence in rest)
    told = f"<ul>{items}</ul>" if items else ""
    return f'<section class="summary"><h2 dir="auto">{escape(heading)}</h2><p class="lead" dir="auto">{escape(lead)}</p>{told}</section>'


def chart_section(title: str, charts: Sequence[Chart], *, introduction: str = "", after: str = "") -> str:
    """A section of charts side by side, as many as there is room for; empty where there is nothing to show."""
    if not charts and not after:
        return ""
    told = f"<p>{escape(introduction)}</p>" if introduction else ""
    drawn = f'<div class="charts">{"".join(_figure(chart) for chart in charts)}</div>' if charts else ""
    return f"<section><h2>{escape(title)}</h2>{told}{drawn}{after}</section>"


def details(summary: str, inside: str) -> str:
    """What only some readers want, folded; empty where there is nothing inside."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>" if inside else ""


def about(figures: Figures) -> str:
    """When, where and of what: one line."""
    machine = section(figures, "machine")
    cores = at(machine, "cores")
    parts = [
        name(figures, "date"),
        machine_name(figures),
        f"{count(cores)} cores" if cores is not None and name(machine, "device") == "cpu" else "",
        f"commit {name(figures, 'commit')[:10]}" if name(figures, "commit") else "",
    ]
    return " · ".join(part for part in parts if part)


def provenance(figures: Figures) -> str:
    """The machine, the versions and the command, for whoever repeats it."""
    machine = section(figures, "machine")
    facts = [
        ("processor", name(machine, "processor")),
        ("cores", count(at(machine, "cores"))),
        ("memory", memory(at(machine, "memory_bytes"))),
        ("system", name(machine, "system")),
        ("device", " ".join(part for part in (name(machine, "device"), name(machine, "device_name")) if part)),
        ("date", name(figures, "date")),
        ("commit", name(figures, "commit")),
        *section(machine, "versions").items(),
    ]
    known = [[str(key), str(value)] for key, value in facts if str(value) not in {"None", "", UNKNOWN}]
    command = name(figures, "command")
    told = f"<p>Repeat it with</p><pre>{escape(command)}</pre>" if command else ""
    return told + table("Machine and versions", ["", ""], known, sortable=False)


@functools.cache
def asset(file: str) -> str:
    """A style sheet or script that lies beside this module."""
    return (HERE / file).read_text(encoding="utf-8")


@functools.cache
def _vega() -> str:
    return str(vl_convert.javascript_bundle())  # type: ignore[call-arg]  # its stub asks for a snippet, it does not


def _script(source: str) -> str:
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _figure(chart: Chart) -> str:
    buttons = "".join(
        f'<button type="button" data-type="{kind}" aria-label="Download {escape(chart.title)} as {kind.upper()}">{kind.upper()}</button>'
        for kind in ("svg", "png")
    )
    return (
        f'<figure id="{chart.key}"><h3 dir="auto">{escape(chart.title)}</h3><div class="chart"></div>'
        f'<figcaption dir="auto">{escape(chart.caption)} <span class="download">{buttons}</span></figcaption>'
        f"{json_block(f'{chart.key}-data', chart.specification)}</figure>"
    )
