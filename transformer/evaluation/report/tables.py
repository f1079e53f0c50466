"""Tables whose rows a click sorts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from transformer.evaluation.report.wording import Number


@dataclass(frozen=True)
class Cell:
    """What a table shows at one place, and what it is sorted by."""

    text: str
    value: Number | None = None


Rows = Sequence[Sequence[str | Cell]]


def cell(value: Number | None, wording: Callable[[Number | None], str]) -> Cell:
    """A number in words."""
    return Cell(wording(value), value)


def table(caption: str, columns: Sequence[str], rows: Rows, *, sortable: bool = True) -> str:
    """HTML of a table that scrolls in a box of its own; empty where there are no rows.

    Columns of cells with numbers are set to the right and sorted by the numbers, what is unknown last.
    """
    if not rows:
        return ""
    numeric = [any(isinstance(row[index], Cell) for row in rows) for index in range(len(columns))]
    head = "".join(_heading(column, sortable, right) for column, right in zip(columns, numeric, strict=True))
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    kind = ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table{kind}>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _heading(column: str, sortable: bool, right: bool) -> str:
    kind = ' class="number"' if right else ""
    inside = f'<button type="button">{escape(column)}</button>' if sortable else escape(column)
    return f'<th scope="col"{kind}>{inside}</th>'


def _cell(value: str | Cell) -> str:
    if isinstance(value, str):
        return f'<td dir="auto">{escape(value)}</td>'
    key = "" if value.value is None else f' data-value="{value.value!r}"'
    return f'<td class="number"{key}>{escape(value.text)}</td>'
