"""What was measured, for people (Markdown) and programs (JSON)."""

import dataclasses
from collections.abc import Iterable
from statistics import median
from typing import Any

from benchmarks.rounds import Measured, Ratio, speed_ratio

MEBIBYTE = 2**20
HEADER = ["", "speed", "lowest–highest", "ms a step", "real tokens/s", "real share", "peak MiB", "memory", "start s", "parameters"]

EXPLANATION = """\
`{command}`, {date}, commit {commit}.

Machine: {processor}, {cores} cores, {memory} of memory, {system}; load average before the run {load_average:.1f}. {interpreters}

A training step is forward, backward and AdamW on all parameters. Each competitor has a process of its own. Those of a table stay alive
together and take turns, one at work at a time, in an order that is reversed every round. A round is at least {round_seconds:g} s of steps
after warm-up; there were {rounds} rounds.

- speed: real tokens a second, those of the table's first row being 1: the median over the rounds of the ratio within a round
- ms a step, real tokens/s: medians over the rounds
- real share: tokens of texts among all that are computed on, the rest being padding
- peak MiB: highest resident memory of the process since its start, libraries and compilation included
- memory: the same, the first row's being 1
- start s: from starting the process to the end of its first pass over its batches: imports, building, compiling with no cache
"""


def row_figures(row: Measured, reference: Measured) -> dict[str, Any]:
    """A row's measurements and what follows from them."""
    ratio = speed_ratio(reference.token_seconds(), row.token_seconds())
    known = row.peak_bytes is not None and reference.peak_bytes is not None
    return {
        **dataclasses.asdict(row),
        "median_step_seconds": median(row.step_seconds),
        "real_tokens_per_second": 1 / median(row.token_seconds()),
        "real_share": row.real_tokens / row.computed_tokens,
        "speed": dataclasses.asdict(ratio),
        "memory_ratio": row.peak_bytes / reference.peak_bytes if known else None,  # type: ignore[operator]
    }


def table_markdown(title: str, rows: list[dict[str, Any]], failures: dict[str, str]) -> str:
    """A table with a row a competitor, aligned so that it reads well in a terminal too."""
    cells = [HEADER, *([row["name"], *_cells(row)] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    lines = [_line([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells]
    lines.insert(1, _line(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]))
    failed = [f"\nNot measured: {name}: {reason.splitlines()[-1]}" for name, reason in failures.items()]
    return "\n".join([f"## {title}", "", *lines, *failed, ""])


def first_step_markdown(figures: dict[str, Any]) -> str:
    """How long the first training step takes to come."""
    return f"""\
## From the command to the end of the first training step

`{figures["command"]}`: {figures["cold_seconds"]:.1f} s with nothing compiled before; {median(figures["warm_seconds"]):.1f} s with a warm
compilation cache (median of {len(figures["warm_seconds"])}). Data and tokenizer were cached.
"""


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: dict[str, Any]) -> list[str]:
    ratio = Ratio(**row["speed"])
    return [
        f"{ratio.median:.2f}",
        f"{ratio.low:.2f}–{ratio.high:.2f}",
        f"{1000 * row['median_step_seconds']:.1f}",
        f"{row['real_tokens_per_second']:,.0f}",
        f"{row['real_share']:.2f}",
        "–" if row["peak_bytes"] is None else f"{row['peak_bytes'] / MEBIBYTE:,.0f}",
        "–" if row["memory_ratio"] is None else f"{row['memory_ratio']:.2f}",
        f"{row['start_seconds']:.1f}",
        f"{row['parameters']:,}",
    ]


def document(report: dict[str, Any]) -> str:
    """The whole report in Markdown."""
    machine = report["machine"]
    interpreters = " ".join(
        ", ".join(f"{library} {version}" for library, version in versions.items() if version) + "." for versions in report["interpreters"]
    )
    explanation = EXPLANATION.format(
        command=report["command"],
        date=report["date"],
        commit=report["commit"],
        processor=machine["processor"],
        cores=machine["cores"],
        memory=f"{machine['memory_bytes'] / 2**30:.0f} GiB",
        system=machine["system"],
        load_average=machine["load_average"],
        interpreters=interpreters,
        rounds=report["rounds"],
        round_seconds=report["round_seconds"],
    )
    tables = [table_markdown(table["title"], table["rows"], table["failures"]) for table in report["tables"]]
    if "first_step" in report:
        tables.append(first_step_markdown(report["first_step"]))
    return "\n".join(["# Speed and memory", "", explanation, *tables])
