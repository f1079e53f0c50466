"""Draw the pictures of docs/attention.md from what its snippets compute."""

import re
from pathlib import Path
from typing import Any

import altair as alt

DOCUMENT = Path(__file__).parent.parent / "docs" / "attention.md"
PICTURES = DOCUMENT.parent / "pictures"

# Read on white and on black alike, since a picture in a document does not know its ground.
INK = "#7d8590"
COLOURS = ["#d55e00", "#009e73", "#3a86d1"]


def snippets(document: Path) -> list[tuple[str, str]]:
    """Return a document's Python snippets, each with the output that stands below it, or an empty string.

    A snippet is preceded by as many blank lines as its line number asks for, so that an error names the document's line.
    """
    text = document.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", text, re.MULTILINE | re.DOTALL)
    return [("\n" * text.count("\n", 0, match.start(1)) + match[1], match[2] or "") for match in found]


def heads(words: list[str], weights: Any) -> alt.FacetChart:
    """Return a table of weights for each of two heads."""
    rows = [
        {"head": purpose, "asks": row, "looks at": column, "weight": float(head[row, column])}
        for head, purpose in zip(weights, ["head 1: the kind of word it needs", "head 2: the word before"], strict=True)
        for row in range(len(words))
        for column in range(len(words))
    ]
    names = f"{words}[datum.value]".replace("'", '"')
    axis: dict[str, Any] = {"labelExpr": names, "labelAngle": 0, "ticks": False, "domain": False, "title": None}
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("looks at:O", axis=alt.Axis(orient="top", **axis)), y=alt.Y("asks:O", axis=alt.Axis(**axis))
    )
    cells = base.mark_rect(stroke=INK, strokeWidth=0.5).encode(
        color=alt.Color("weight:Q", scale=alt.Scale(domain=[0, 1], range=["#f4f7fb", "#0b4f94"]), legend=None)
    )
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("weight:Q", format=".2f"), color=alt.condition("datum.weight > 0.5", alt.value("#ffffff"), alt.value("#30363d"))
    )
    return (
        alt.layer(cells, numbers)
        .properties(width=330, height=250)
        .facet(facet=alt.Facet("head:N", title=None, header=alt.Header(orient="bottom")), columns=2)
    )


def chains(rows: list[dict[str, int]]) -> alt.LayerChart | alt.FacetChart:
    """Return lines of the longest chain of operations over the number of words, a line a model."""
    models = [name for name in rows[0] if name != "words"]
    values = [{"model": model, "words": row["words"], "span": row[model]} for row in rows for model in models]
    lengths = [row["words"] for row in rows]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("words:Q", scale=alt.Scale(type="log", base=2), axis=alt.Axis(values=lengths, title="words in the text")),
        y=alt.Y(
            "span:Q",
            scale=alt.Scale(type="log", domain=[10, 20_000]),
            axis=alt.Axis(values=[10, 100, 1_000, 10_000], format=",d", title="operations in the longest chain"),
        ),
        color=alt.Color("model:N", scale=alt.Scale(domain=models, range=COLOURS), legend=None),
    )
    lines = base.mark_line(strokeWidth=2.5)
    points = base.mark_point(size=70, filled=True, opacity=1).encode(
        shape=alt.Shape("model:N", scale=alt.Scale(domain=models), legend=None)
    )
    ends = base.transform_filter(f"datum.words == {lengths[-1]}")
    names = [
        ends.transform_filter(alt.FieldEqualPredicate(field="model", equal=model))
        .mark_text(align="left", dx=10, dy=dy, fontSize=13, fontWeight="bold")
        .encode(text="model:N")
        for model, dy in zip(models, [0, -10, 10], strict=True)
    ]
    return alt.layer(lines, points, *names).properties(width=520, height=300)


def main() -> None:
    """Run the document's snippets, then draw."""
    namespace: dict[str, Any] = {}
    for code, _ in snippets(DOCUMENT):
        exec(compile(code, DOCUMENT, "exec"), namespace)  # noqa: S102 (the project's own document)
    PICTURES.mkdir(exist_ok=True)
    drawn = {"heads": heads(namespace["sentence"], namespace["heads"]), "chains": chains(namespace["chains"])}
    for name, drawing in drawn.items():
        coloured = drawing.configure(background="transparent", font="system-ui, sans-serif").configure_view(stroke=None)
        coloured = coloured.configure_axis(labelColor=INK, titleColor=INK, domainColor=INK, tickColor=INK, gridColor=INK, gridOpacity=0.3)
        coloured = coloured.configure_header(labelColor=INK, labelFontSize=14, labelFontWeight="bold")
        coloured.save(PICTURES / f"{name}.svg")


if __name__ == "__main__":
    main()
