"""The page of a comparison."""

from typing import Any

from transformer.data.sources import SPLITS
from transformer.evaluation.report.charts import LEGEND
from transformer.evaluation.report.comparison_charts import comparison_charts
from transformer.evaluation.report.comparison_sentences import LEVEL, comparison_sentences
from transformer.evaluation.report.document import (
    about,
    chart_page,
    chart_section,
    details,
    header,
    provenance,
    summary,
)
from transformer.evaluation.report.figures import Figures, at, name, number, rows, section
from transformer.evaluation.report.tables import Cell, Rows, cell, table
from transformer.evaluation.report.wording import UNKNOWN, Number, between, count, listing, memory, percent, plural, seconds, significant

QUALITY, LEARNING = ("quality",), ("accuracy-against-epoch", "accuracy-against-real-tokens", "accuracy-against-seconds")


def comparison_page(figures: Figures) -> str:
    """The HTML of a comparison, from the figures that `scripts/compare.py` writes as report.json; any of them may be missing."""
    charts = comparison_charts(figures)
    title = name(figures) or "Comparison"
    body = [
        header("Comparison", title, about(figures)),
        summary("What was found", comparison_sentences(figures)),
        chart_section("Quality", [chart for chart in charts if chart.key in QUALITY], after=_rivals(figures) + _pairs(figures)),
        chart_section("Learning", [chart for chart in charts if chart.key in LEARNING], introduction=LEGEND),
        chart_section("Cost", [chart for chart in charts if chart.key not in {*QUALITY, *LEARNING}], after=_costs(figures)),
        chart_section("How it was done", [], after=_conditions(figures) + _search(figures) + _runs(figures) + provenance(figures)),
    ]
    return chart_page(title, body)


def _rivals(figures: Figures) -> str:
    shown = sorted(rows(figures, "rivals"), key=lambda rival: -(at(rival, "accuracy", "mean") or -1.0))
    return table(
        "Rivals, on the test texts",
        [
            "rival",
            "kind",
            "accuracy",
            "95 % interval",
            "macro-F1",
            "parameters",
            "without embeddings",
            "learning rate",
            "own settings",
            "what it is",
        ],
        [
            [
                name(rival),
                name(rival, "family"),
                cell(at(rival, "accuracy", "mean"), percent),
                between(at(rival, "accuracy", "low"), at(rival, "accuracy", "high"), percent),
                cell(at(rival, "macro_f1", "mean"), percent),
                cell(at(rival, "parameters", "total"), count),
                cell(at(rival, "parameters", "without_embeddings"), count),
                cell(at(rival, "learning_rate"), significant),
                name(rival, "settings"),
                name(rival, "description"),
            ]
            for rival in shown
        ],
    )


def _pairs(figures: Figures) -> str:
    found = rows(figures, "pairs")
    if not found:
        return ""
    told = table(
        "Each pair, test accuracy of the first minus the second, by the paired bootstrap",
        ["first", "second", "difference, points", "95 % interval", "p", "significant"],
        [
            [
                name(pair, "a"),
                name(pair, "b"),
                cell(at(pair, "difference"), _signed),
                between(at(pair, "low"), at(pair, "high"), _signed),
                cell(at(pair, "p"), lambda p: UNKNOWN if p is None else f"{p:.4f}"),
                UNKNOWN if (p := at(pair, "p")) is None else "yes" if p < LEVEL else "no",
            ]
            for pair in found
        ],
    )
    caution = (
        f"Test texts are drawn anew with replacement, the same for both; accuracies are means over seeds. Significant means p < {LEVEL}. "
        f"The p-values are not corrected for the {plural(len(found), 'pair')}."
    )
    return f"{told}<p>{caution}</p>"


def _signed(difference: Number | None) -> str:
    return UNKNOWN if difference is None else f"{100 * difference:+.2f}".replace("-", "−")


def _costs(figures: Figures) -> str:
    def spread(rival: Figures, key: str) -> list[float | None]:
        return [at(rival, key, part) for part in ("median", "low", "high")]

    def spread_words(low: float | None, high: float | None) -> str:
        return "" if None in {low, high} or low == high else f" ({between(low, high, count)})"

    shown: list[list[str | Cell]] = []
    for rival in rows(figures, "rivals"):
        rate, low, high = spread(rival, "real_tokens_per_second")
        shown.append(
            [
                name(rival),
                Cell(count(rate) + spread_words(low, high), rate),
                *(cell(at(rival, key, "median"), seconds) for key in ("train_seconds", "compile_seconds", "seconds_to_target")),
                cell(at(rival, "peak_bytes", "median"), memory),
            ]
        )
    target = number(figures.get("target_accuracy"))
    reached = "time to the target" if target is None else f"time to {percent(target)}"
    return table("Cost, median over seeds", ["rival", "real tokens/s", "training", "compilation", reached, "peak memory"], shown)


def _conditions(figures: Figures) -> str:
    data, budget = section(figures, "data"), section(figures, "budget")
    splits = [f"{count(size)} for {what}" for what in SPLITS if (size := at(data, what)) is not None]
    told = []
    if splits:
        classes = f" of {count(at(data, 'classes'))} classes" if at(data, "classes") is not None else ""
        told.append(f"Every rival saw the same texts{classes}: {listing(splits)}.")
    if at(data, "maximum_length") is not None:
        mean = f", {significant(at(data, 'mean_tokens'))} on average" if at(data, "mean_tokens") is not None else ""
        told.append(f"Networks read at most {count(at(data, 'maximum_length'))} tokens of each{mean}.")
    seeds, rates = (_numbers(budget.get(key)) for key in ("seeds", "learning_rates"))
    if at(budget, "epochs") is not None:
        repeated = f", with {plural(len(seeds), 'seed')}" if seeds else ""
        most = "at most " if budget.get("may_end_early") else ""
        told.append(f"Each network was trained for {most}{plural(at(budget, 'epochs') or 0, 'epoch')}{repeated}.")
    if len(rates) == 1:
        told.append(f"Their learning rate was {significant(rates[0])}.")
    elif rates:
        told.append(f"Learning rates were chosen on validation data among {listing([significant(rate) for rate in rates])}.")
    if told:
        told.append("The test texts were read once, at the end.")
    return f"<p>{' '.join(told)}</p>" if told else ""


def _numbers(values: Any) -> list[float]:
    return [known for value in values if (known := number(value)) is not None] if isinstance(values, list) else []


def _search(figures: Figures) -> str:
    found: Rows = [
        [name(rival), cell(at(tried, "learning_rate"), significant), cell(at(tried, "validation_accuracy"), percent)]
        for rival in rows(figures, "rivals")
        for tried in rows(rival, "search")
    ]
    return details("The search for learning rates", table("Learning rates tried", ["rival", "learning rate", "validation accuracy"], found))


def _runs(figures: Figures) -> str:
    found: Rows = [
        [
            name(rival),
            cell(at(run, "seed"), count),
            cell(at(run, "test", "accuracy"), percent),
            cell(at(run, "test", "macro_f1"), percent),
            cell(at(run, "validation", "accuracy"), percent),
            cell(at(run, "seconds", "train"), seconds),
            cell(at(run, "seconds", "compile"), seconds),
            cell(at(run, "real_tokens_per_second"), count),
            cell(at(run, "peak_bytes"), memory),
            cell(at(run, "seconds_to_target"), seconds),
        ]
        for rival in rows(figures, "rivals")
        for run in rows(rival, "runs")
    ]
    columns = [
        "rival",
        "seed",
        "test accuracy",
        "test macro-F1",
        "validation accuracy",
        "training",
        "compilation",
        "real tokens/s",
        "peak memory",
    ]
    return details("Every run", table("Runs", [*columns, "time to target"], found))
