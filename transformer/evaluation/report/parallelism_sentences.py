"""What a study of parallelism found on one machine, in words that follow from its figures alone."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import TypeVar

from transformer.evaluation.report.figures import ATTENTION, RECURRENCE, Figures, at, name, on_processors, rows
from transformer.evaluation.report.measurements import (
    MODES,
    Shape,
    all_cores,
    attention_name,
    counted,
    gains,
    growth_exponent,
    medians,
    settings,
    shape,
)
from transformer.evaluation.report.wording import count, listing, plural, ratio, significant

T = TypeVar("T")

VERDICTS = ("faster", "about as fast", "slower")

ABOUT = 0.1
"""Step times that differ by less than this share are called about the same: medians on a shared machine tell no more."""


def parallelism_sentences(figures: Figures) -> list[str]:
    """The summary of a study of one machine, most important first; the format of `figures` is that of benchmark.json.

    A sentence is left out where its figures are missing. Which model is faster, where, and from how many processors on, is read from
    the figures and from nothing else.
    """
    others = [model for model in rows(figures, "models") if name(model, "family") != ATTENTION]
    recurrent = [model for model in others if name(model, "family") == RECURRENCE]
    compared = recurrent or others[:1]
    sentences = [_overall(figures, model) for model in [*compared, *(model for model in others if model not in compared)]]
    sentences += [_seconds(figures, name(model), mode) for model in compared[:1] for mode in MODES]
    sentences += [_cores(figures), _spans(figures)]
    sentences += [_crossings(figures, name(model)) for model in compared]
    sentences.append(_failures(figures))
    return [sentence for sentence in sentences if sentence]


def _seconds(figures: Figures, model: str, mode: str) -> str:
    """At which lengths the model is faster than the attention model, about as fast, or slower."""
    cores = all_cores(figures)
    ratios = _ratios(figures, model, mode, cores)
    if len({_verdict(value) for value in ratios.values()}) < 2:
        return ""
    parts = []
    for setting in settings(set(ratios)):
        by_length = sorted((where[1], _verdict(value)) for where, value in ratios.items() if setting.holds(where))
        parts.append(f"with {setting} it is {_over_lengths(by_length, lambda verdict, where: f'{verdict} at {where}')}")
    return f"{model} against {attention_name(figures)}, {_mode(mode)}{_with_cores(figures, cores)}: {'; '.join(parts)}."


def _over_lengths(by_length: list[tuple[int, T]], say: Callable[[T, str], str]) -> str:
    """What holds at each length, told once for neighbouring lengths at which the same holds."""
    parts = []
    for value, group in groupby(by_length, key=lambda pair: pair[1]):
        lengths = [length for length, _ in group]
        ends = count(lengths[0]) if len(lengths) == 1 else f"{count(lengths[0])} to {count(lengths[-1])}"
        parts.append(say(value, f"{ends} tokens"))
    return listing(parts)


def _ratios(figures: Figures, model: str, mode: str, cores: int | None) -> dict[Shape, float]:
    own, reference = (medians(figures, which, mode, cores) for which in (model, attention_name(figures)))
    return {where: own[where] / reference[where] for where in own if where in reference}


def _verdict(own_by_reference: float) -> str:
    if own_by_reference < 1 / (1 + ABOUT):
        return "faster"
    return "slower" if own_by_reference > 1 + ABOUT else "about as fast"


def _range(values: Iterable[float]) -> str:
    told = [significant(value) for value in (min(values), max(values))]
    return f"{told[0]} ×" if told[0] == told[1] else f"{told[0]} to {told[1]} ×"


def _overall(figures: Figures, model: Figures) -> str:
    """In how many shapes the model is faster than the attention model, in training if that was measured."""
    cores = all_cores(figures)
    for mode in MODES:
        if ratios := _ratios(figures, name(model), mode, cores):
            break
    else:
        return ""
    verdicts = [_verdict(value) for value in ratios.values()]
    told = [f"{verdict} in {verdicts.count(verdict)}" for verdict in VERDICTS if verdict in verdicts]
    kind = f" ({name(model, 'family')})" if name(model, "family") else ""
    shapes = plural(len(ratios), "measured shape")
    where = f"{told[0].partition(' in ')[0]} in {'the only measured shape' if len(ratios) == 1 else f'all {shapes}'}"
    return (
        f"{name(model)}{kind} takes {_range(ratios.values())} the time of {attention_name(figures)}, {_mode(mode)}"
        f"{_with_cores(figures, cores)}: it is {where if len(told) == 1 else f'{listing(told)} of {shapes}'}."
    )


def _cores(figures: Figures) -> str:
    """How much faster a step gets with all cores: for the fewest and longest texts, where models differ most."""
    gained: dict[Shape, list[tuple[float, str]]] = {}
    for model in rows(figures, "models"):
        for where, gain in gains(figures, name(model), "training").items():
            gained.setdefault(where, []).append((gain, name(model)))
    shared = {where: of_models for where, of_models in gained.items() if len(of_models) == max(map(len, gained.values())) > 1}
    if not shared:
        return ""
    few = max(shared, key=lambda where: (-where[0], where[1]))
    many = max(shared, key=lambda where: (where[0], -where[1]))
    told = []
    for batch, length in dict.fromkeys([few, many]):
        best_first = sorted(shared[batch, length], reverse=True)
        told.append(f"at {count(batch)} × {count(length)} {listing([f'{who} {ratio(gain)}' for gain, who in best_first])}")
    cores = count(all_cores(figures))
    return f"With {cores} cores instead of 1, training steps (batch × length) run at these multiples of their speed: {'; '.join(told)}."


def _spans(figures: Figures) -> str:
    told = []
    for model in rows(figures, "models"):
        spans = counted(figures, name(model), "training", "span") or counted(figures, name(model), "forward", "span")
        if len(spans) < 2 or not spans[min(spans)]:
            continue
        told.append((spans[max(spans)] / spans[min(spans)], name(model), growth_exponent(spans), (min(spans), max(spans))))
    if not told:
        return ""
    # Models may have been counted over different lengths; growth is told over those of the first.
    ends = told[0][3]
    same = sorted(row[:3] for row in told if row[3] == ends)
    grown = listing(
        [
            f"{ratio(growth)} for {who} (length to the power {round(exponent, 2) + 0:.2f})"
            for growth, who, exponent in same
            if exponent is not None
        ]
    )
    if not grown:
        return ""
    return (
        f"From {count(ends[0])} to {count(ends[1])} tokens, {ratio(ends[1] / ends[0])} as many, the longest chain of dependent operations "
        f"grows {grown}."
    )


def _crossings(figures: Figures, model: str) -> str:
    """From how many processors on the attention model is faster by Brent's bound, in training if that was counted, by length."""
    found = [row for row in rows(figures, "crossings") if name(row, "model") == model and shape(row)]
    mode = next((mode for mode in MODES if any(name(row, "mode") == mode for row in found)), None)
    if mode is None:
        return ""
    of_mode = {shape(row) or (0, 0): row for row in found if name(row, "mode") == mode}
    against = next((name(row, "against") for row in of_mode.values() if name(row, "against")), attention_name(figures))
    told = []
    for setting in settings(set(of_mode))[:2]:  # the others stand in the report's table
        by_length = [(where[1], at(of_mode[where], "processors")) for where in sorted(of_mode) if setting.holds(where)]
        by_length.sort(key=lambda pair: pair[0])
        told.append(f"with {setting} {_over_lengths(by_length, _from_processors)}")
    return f"By Brent's bound {against} is faster than {model}, {_mode(mode)}: {'; '.join(told)}."


def _from_processors(processors: float | None, where: str) -> str:
    # "From no number on" and not "at none": with less work and a longer span attention is ahead at few processors and overtaken later.
    return f"from {'no number of processors' if processors is None else plural(processors, 'processor')} on at {where}"


def _failures(figures: Figures) -> str:
    measured = rows(figures, "measured")
    failed = [row for row in measured if row.get("failure")]
    if not failed:
        return ""
    told: dict[tuple[str, str], list[Shape]] = {}
    for row in failed:
        told.setdefault((name(row, "model"), name(row, "failure")), []).append(shape(row) or (0, 0))
    parts = [
        f"{who} at {listing([f'{count(batch)} × {count(length)}' for batch, length in sorted(set(shapes))])} ({why})"
        for (who, why), shapes in told.items()
    ]
    return f"{len(failed)} of {plural(len(measured), 'measurement')} failed (batch × length): {listing(parts)}."


def _mode(mode: str) -> str:
    return "in training" if mode == "training" else "forward alone"


def _with_cores(figures: Figures, cores: int | None) -> str:
    if cores is None or not on_processors(figures):
        return ""
    return " on one core" if cores == 1 else " on both cores" if cores == 2 else f" on all {count(cores)} cores"
