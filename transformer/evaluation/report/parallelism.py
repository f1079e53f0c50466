"""The page of a study of parallelism, of one machine or of several."""

from collections.abc import Sequence

from transformer.evaluation.report.charts import LEGEND
from transformer.evaluation.report.document import (
    about,
    chart_page,
    chart_section,
    details,
    header,
    provenance,
    summary,
)
from transformer.evaluation.report.figures import Figures, at, name, rows, section
from transformer.evaluation.report.measurements import MODES, counted, growth_exponent
from transformer.evaluation.report.parallelism_charts import machine_names, mode_words, parallelism_charts
from transformer.evaluation.report.parallelism_sentences import parallelism_sentences
from transformer.evaluation.report.tables import Cell, Rows, cell, table
from transformer.evaluation.report.wording import UNKNOWN, Number, between, count, memory, ratio, seconds, significant

COUNTED = (
    "Counted in the compiled programs' own operations. Work is all of them; span is the longest chain of operations of which each needs "
    "the one before; work over span is the most processors that could be kept busy."
)
BRENT = (
    "With p processors a step takes at most work / (p × rate) + span × latency (Brent 1974). Rate and latency were measured on this "
    "machine; what more processors would do is computed, and real ones also move data."
)
SEQUENTIAL = (
    "The column “sequential operations” of Vaswani et al. 2017, Table 1, derived and not quoted: the power of the length that fits the "
    "counted span best. About 1 is a chain as long as the text, about 0 is none."
)


def parallelism_page(figures: Sequence[Figures]) -> str:
    """The HTML of a study on any number of machines, each as `scripts/benchmark.py` writes it; any figure may be missing."""
    machines = machine_names(figures)
    charts = parallelism_charts(figures)
    title = next((name(one) for one in figures if name(one)), "Benchmark")
    measured = _measured(figures, machines)
    body = [
        header("Benchmark", title, about(figures[0]) if len(figures) == 1 else " · ".join(machines)),
        *(
            summary(f"What was found on {machine}" if len(machines) > 1 else "What was found", parallelism_sentences(one))
            for one, machine in zip(figures, machines, strict=True)
        ),
        chart_section(
            "Measured: step time", charts["time"], introduction=f"Both axes are logarithmic. Compilation is not included. {LEGEND}"
        ),
        chart_section("Measured: what more cores give", charts["speed-up"]),
        chart_section("Measured: speed and memory", charts["rate"] + charts["memory"], after=measured),
        chart_section("Counted: work and span", charts["counted"], introduction=COUNTED, after=_sequential(figures)),
        chart_section("Explained: more processors", charts["bound"], introduction=BRENT, after=_crossings(figures, machines)),
        chart_section("How it was done", [], after=_models(figures) + _rates(figures, machines) + _provenances(figures, machines)),
    ]
    return chart_page(title, body)


def _measured(figures: Sequence[Figures], machines: list[str]) -> str:
    found: Rows = [
        [
            *([machine] if len(machines) > 1 else []),
            name(row, "model"),
            mode_words(name(row, "mode")),
            *(cell(at(row, key), count) for key in ("batch", "length", "cores")),
            Cell(name(row, "failure"), None) if row.get("failure") else cell(at(row, "median"), seconds),
            Cell(between(at(row, "low"), at(row, "high"), seconds), at(row, "low")),
            cell(at(row, "real_tokens_per_second"), count),
            cell(at(row, "peak_bytes"), memory),
            cell(at(row, "compile_seconds"), seconds),
        ]
        for one, machine in zip(figures, machines, strict=True)
        for row in rows(one, "measured")
    ]
    columns = ["model", "what", "texts a batch", "length", "cores", "step, median", "range", "real tokens/s", "peak memory", "compilation"]
    return details(
        f"All {len(found):,} measurements", table("Measurements", [*(["machine"] if len(machines) > 1 else []), *columns], found)
    )


def _sequential(figures: Sequence[Figures]) -> str:
    found: list[list[str | Cell]] = []
    one = next((one for one in figures if rows(one, "counted")), {})
    for model in rows(one, "models"):
        for mode in MODES:
            spans, work = (counted(one, name(model), mode, quantity) for quantity in ("span", "work"))
            if spans:
                found.append(
                    [
                        name(model),
                        name(model, "family"),
                        mode_words(mode),
                        cell(growth_exponent(spans), _power),
                        cell(growth_exponent(work), _power),
                        Cell(f"{count(spans[min(spans)])} at {count(min(spans))}", spans[min(spans)]),
                        Cell(f"{count(spans[max(spans)])} at {count(max(spans))}", spans[max(spans)]),
                    ]
                )
    columns = ["model", "kind", "what", "sequential operations", "work", "span at the shortest", "span at the longest"]
    told = table("Sequential operations, as a power of the length n", columns, found)
    return f"{told}<p>{SEQUENTIAL}</p>" if told else ""


def _power(exponent: Number | None) -> str:
    return UNKNOWN if exponent is None else f"n^{round(exponent, 2) + 0:.2f}".replace("-", "−")


def _crossings(figures: Sequence[Figures], machines: list[str]) -> str:
    found: Rows = [
        [
            *([machine] if len(machines) > 1 else []),
            f"{name(row, 'against')} against {name(row, 'model')}",
            mode_words(name(row, "mode")),
            cell(at(row, "batch"), count),
            cell(at(row, "length"), count),
            # Not "never": with less work and a longer span the first is ahead at few processors and overtaken later.
            Cell("from no number on" if at(row, "processors") is None else count(at(row, "processors")), at(row, "processors")),
        ]
        for one, machine in zip(figures, machines, strict=True)
        for row in rows(one, "crossings")
    ]
    columns = [*(["machine"] if len(machines) > 1 else []), "which", "what", "texts a batch", "length", "faster from so many processors"]
    caption = "From how many processors on the first is faster, by the bound"
    return details(f"{caption}, for all {len(found):,} shapes", table(caption, columns, found))


def _models(figures: Sequence[Figures]) -> str:
    models = {name(model): model for one in figures for model in rows(one, "models")}
    smallest = min((size for model in models.values() if (size := at(model, "parameters_without_embeddings"))), default=None)
    return table(
        "Models",
        ["model", "kind", "parameters without embeddings", "times the smallest", "width", "layers"],
        [
            [
                called,
                name(model, "family"),
                cell(size := at(model, "parameters_without_embeddings"), count),
                cell(None if size is None or smallest is None else size / smallest, ratio),
                cell(at(model, "width"), count),
                cell(at(model, "layers"), count),
            ]
            for called, model in models.items()
        ],
    )


def _rates(figures: Sequence[Figures], machines: list[str]) -> str:
    found: list[list[str | Cell]] = []
    for one, machine in zip(figures, machines, strict=True):
        rates = section(one, "rates")
        if rates:
            rate, latency = at(rates, "operations_per_second_one_core"), at(rates, "seconds_per_dependent_operation")
            billions = None if rate is None else rate / 1e9
            found.append([machine, cell(billions, significant), cell(latency, seconds), name(rates, "how")])
    columns = ["machine", "billion operations a second, one core", "a dependent operation", "how it was measured"]
    return table("Rates for Brent's bound", columns, found)


def _provenances(figures: Sequence[Figures], machines: list[str]) -> str:
    if len(figures) == 1:
        return provenance(figures[0])
    return "".join(details(machine, provenance(one)) for one, machine in zip(figures, machines, strict=True))
