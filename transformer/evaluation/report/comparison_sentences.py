"""What a comparison found, in words that follow from its figures alone."""

from dataclasses import dataclass

from transformer.evaluation.fairness import PARAMETER_TOLERANCE, of_one_size
from transformer.evaluation.report.figures import ATTENTION, BAG_OF_WORDS, Figures, at, name, number, rows, section
from transformer.evaluation.report.wording import capital, count, listing, memory, p_value, percent, plural, points, ratio, seconds

LEVEL = 0.05
"""Differences with a smaller p-value are called significant."""


@dataclass(frozen=True)
class Difference:
    """Test accuracy of one rival minus another's."""

    value: float
    p: float | None

    @property
    def significant(self) -> bool:
        """Whether it is unlikely to be luck of the draw of the test texts."""
        return self.p is not None and self.p < LEVEL


def comparison_sentences(figures: Figures) -> list[str]:
    """The summary of a comparison, most important first; the format of `figures` is that of report.json.

    A sentence is left out where its figures are missing. Who wins, and whether that is significant, is read from the figures and from
    nothing else: a recurrent network, or TF-IDF, wins in the same words as the Transformer.
    """
    rivals = ranked(figures)
    if not rivals:
        return ["No rival has a test accuracy yet, so nothing can be said about quality.", *_costs(figures)]
    sentences = [_best(figures, rivals), _leads(figures, rivals), _attention(figures, rivals), _floor(figures, rivals)]
    return [sentence for sentence in [*sentences, *_costs(figures)] if sentence]


def ranked(figures: Figures) -> list[Figures]:
    """The rivals whose test accuracy is known, best first."""
    known = [rival for rival in rows(figures, "rivals") if at(rival, "accuracy", "mean") is not None]
    return sorted(known, key=_accuracy, reverse=True)


def difference(figures: Figures, first: str, second: str) -> Difference | None:
    """The first rival's test accuracy minus the second's, whichever of the two the figures name first; None without a test of it."""
    for pair in rows(figures, "pairs"):
        value = at(pair, "difference")
        names = (name(pair, "a"), name(pair, "b"))
        p = at(pair, "p")
        if value is not None and p is not None and names in {(first, second), (second, first)}:
            return Difference(value if names == (first, second) else -value, p)
    return None


def best_of(rivals: list[Figures], *families: str) -> Figures | None:
    """The first of the rivals that belongs to one of the families."""
    return next((rival for rival in rivals if name(rival, "family") in families), None)


def _accuracy(rival: Figures) -> float:
    return at(rival, "accuracy", "mean") or 0.0


def _costs(figures: Figures) -> list[str]:
    sentences = [_speed(figures), _target(figures), _memory(figures), _parameters(figures)]
    return [sentence for sentence in sentences if sentence]


def _best(figures: Figures, rivals: list[Figures]) -> str:
    data, winner = section(figures, "data"), rivals[0]
    level = [name(rival) for rival in rivals[1:] if _accuracy(rival) == _accuracy(winner)]
    tested = f" of {count(at(data, 'test'))} test texts" if at(data, "test") is not None else " of the test texts"
    where = f"On {name(data)}, " if name(data) else ""
    who = f"{listing([name(winner), *level])} are level at the top" if level else f"{name(winner)} classifies best"
    interval, seeds = "", len(rows(winner, "runs"))
    low, high = at(winner, "accuracy", "low"), at(winner, "accuracy", "high")
    if not level and low is not None and high is not None:
        interval = f" (95 % interval over {plural(seeds, 'seed')}: {percent(low)} to {percent(high)})"
    elif not level and seeds == 1:
        interval = " (a single run, so there is no interval over seeds)"
    return f"{where}{who}: {percent(_accuracy(winner))}{tested} are right{interval}."


def _leads(figures: Figures, rivals: list[Figures]) -> str:
    winner = name(rivals[0])
    clear, unclear, against = [], [], []
    for rival in rivals[1:]:
        lead = difference(figures, winner, name(rival))
        if lead is None:
            continue
        if not lead.significant:
            unclear.append(f"{name(rival)} ({points(lead.value)}, {p_value(lead.p)})")
        elif lead.value > 0:
            clear.append(f"{name(rival)} (by {points(lead.value)})")
        else:
            against.append(f"{name(rival)} (by {points(lead.value)})")
    parts = []
    if clear:
        parts.append(f"{winner} is significantly better than {listing(clear)} (paired bootstrap over the test texts, p < {LEVEL})")
    if unclear:
        parts.append(f"between {winner} and {listing(unclear, 'or')} there is no significant difference")
    if against:
        parts.append(f"over the same texts, however, {winner} is significantly worse than {listing(against)}")
    sentence = "; ".join(parts)
    # A name keeps its small letter.
    return f"{sentence if clear else capital(sentence)}." if parts else ""


def _attention(figures: Figures, rivals: list[Figures]) -> str:
    """How the best attention network stands against the best of each other kind of network, where that is not told by its lead already."""
    transformer = best_of(rivals, ATTENTION)
    if transformer is None or transformer is rivals[0]:
        return ""
    clauses = []
    for family in dict.fromkeys(name(rival, "family") for rival in rivals):
        rival = best_of(rivals, family)
        if family in {ATTENTION, BAG_OF_WORDS} or rival is None:
            continue
        gap = difference(figures, name(transformer), name(rival))
        label = f"{name(rival)} ({family})" if family else name(rival)
        if gap is None:
            gap = Difference(_accuracy(transformer) - _accuracy(rival), None)
            verdict = "is level with" if not gap.value else f"is {points(gap.value)} {'above' if gap.value > 0 else 'below'}"
        elif not gap.significant:
            size = points(gap.value)
            direction = "" if size == points(0) else " higher" if gap.value > 0 else " lower"
            verdict = f"does not differ significantly ({size}{direction}, {p_value(gap.p)}) from"
        else:
            verdict = f"is significantly {'better' if gap.value > 0 else 'worse'}, by {points(gap.value)}, than"
        clauses.append(f"{verdict} {label}")
    if not clauses:
        return ""
    return f"Attention against the rest: {name(transformer)}, at {percent(_accuracy(transformer))}, {listing(clauses)}."


def _floor(figures: Figures, rivals: list[Figures]) -> str:
    floor = best_of(rivals, BAG_OF_WORDS)
    networks = [rival for rival in rivals if name(rival, "family") != BAG_OF_WORDS]
    if floor is None or not networks:
        return ""
    above: list[str] = []
    below: list[str] = []
    level: list[str] = []
    for rival in networks:
        gap = difference(figures, name(rival), name(floor))
        standing = _accuracy(rival) - _accuracy(floor)
        verdict = "" if gap is None or not standing else " (significantly)" if gap.significant else " (not significantly)"
        (above if standing > 0 else below if standing < 0 else level).append(name(rival) + verdict)
    # Where characters are its terms, pairs of them are too.
    ignorance = "no order but that of neighbouring characters" if name(floor, "terms") == "characters" else "nothing of word order"
    opening = f"The floor is {name(floor)}, which knows {ignorance}: {percent(_accuracy(floor))}."
    if not above and not level:
        return f"{opening} No network reaches it; below it are {listing(below)}."
    parts = [f"{where} it: {listing(names)}" for where, names in (("above", above), ("level with", level), ("below", below)) if names]
    return f"{opening} {capital('; '.join(parts))}."


def _speed(figures: Figures) -> str:
    known = [(at(rival, "real_tokens_per_second", "median"), rival) for rival in rows(figures, "rivals")]
    measured = sorted([(rate, rival) for rate, rival in known if rate], key=lambda pair: -pair[0])
    if len(measured) < 2:
        return ""
    (rate, fastest), others = measured[0], measured[1:]
    machine = section(figures, "machine")
    cores = at(machine, "cores")
    where = f"On this machine's {plural(cores, 'core')}, " if name(machine, "device") == "cpu" and cores else "On this machine, "
    sentence = f"{where}{name(fastest)} trains fastest, {count(rate)} real tokens a second"
    # The fastest of the other side: attention where something else wins, and the other way round.
    side = name(fastest, "family") == ATTENTION
    rival = next(((speed, row) for speed, row in others if (name(row, "family") == ATTENTION) != side), others[0])
    if count(rival[0]) == count(rate):
        return f"{sentence}, and {name(rival[1])} as many."
    return f"{sentence}; {name(rival[1])} reads {count(rival[0])}, {ratio(rival[0] / rate)} as many."


def _target(figures: Figures) -> str:
    target = number(figures.get("target_accuracy"))
    watched = [rival for rival in rows(figures, "rivals") if any(rows(run, "curve") for run in rows(rival, "runs"))]
    if target is None or not watched:
        return ""
    always, sometimes, never = [], [], []
    for rival in watched:
        runs = rows(rival, "runs")
        times = [time for run in runs if (time := at(run, "seconds_to_target")) is not None]
        median = at(rival, "seconds_to_target", "median")
        if times and len(times) == len(runs) and median is not None:
            always.append((median, name(rival)))
        elif times:
            sometimes.append(f"in {len(times)} of {plural(len(runs), 'run')} by {name(rival)}")
        else:
            never.append(name(rival))
    soonest_first = [f"{who} (after {seconds(time)})" for time, who in sorted(always)]
    parts = [f"in every run by {listing(soonest_first) if always else 'nobody'}", *sometimes]
    if never:
        parts.append(f"in no run by {listing(never, 'or')}")
    remark = " (Times are medians, of training alone.)" if always else ""
    return f"A validation accuracy of {percent(target)} is reached {'; '.join(parts)}.{remark}"


def _memory(figures: Figures) -> str:
    known = [(at(rival, "peak_bytes", "median"), name(rival)) for rival in rows(figures, "rivals")]
    measured = sorted((peak, who) for peak, who in known if peak)
    if len(measured) < 2:
        return ""
    (least, modest), (most, hungry) = measured[0], measured[-1]
    if memory(least) == memory(most):
        return f"All need the same memory, {memory(least)}."
    return f"The least memory at its peak is needed by {modest}, {memory(least)}; the most by {hungry}, {memory(most)}."


def _parameters(figures: Figures) -> str:
    sizes = [size for rival in rows(figures, "rivals") if (size := at(rival, "parameters", "without_embeddings"))]
    if len(sizes) < 2:
        return ""
    allowed = f"the {100 * PARAMETER_TOLERANCE:g} %"
    verdict = f"within {allowed} of a fair comparison" if of_one_size(sizes) else f"more than {allowed} that a fair comparison allows"
    apart = percent(max(sizes) / min(sizes) - 1)
    return f"Without embeddings the networks have {count(min(sizes))} to {count(max(sizes))} parameters, {apart} apart: {verdict}."
