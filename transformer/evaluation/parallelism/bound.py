"""What work and span say of machines with any number of processors."""

import math
from dataclasses import dataclass
from typing import Any

from transformer.evaluation.parallelism.work_span import WorkSpan

PROCESSORS = tuple(2**exponent for exponent in range(21))


@dataclass(frozen=True)
class Rates:
    """How fast a machine is."""

    operations_per_second_one_core: float
    """Scalar operations of one core where nothing waits for anything."""
    seconds_per_dependent_operation: float
    """Time of an operation that waits for the one before it."""


def brent_bound(count: WorkSpan, processors: int, rates: Rates) -> float:
    """Seconds that a greedy schedule on p processors takes at most: work / (p rate) + span latency (Brent 1974, lemma 2).

    Each processor is as fast as the measured core, and what they exchange is free: so the bound tells what dependence alone forbids.
    """
    return count.work / (processors * rates.operations_per_second_one_core) + count.span * rates.seconds_per_dependent_operation


def crossing(challenger: WorkSpan, incumbent: WorkSpan, rates: Rates) -> int | None:
    """The least number of processors from which on the challenger's bound is below the incumbent's; None where there is none.

    None tells of many processors alone: a challenger with less work and a longer span is ahead at few and overtaken later.
    """
    # brent_bound's difference is a / p - b, which is negative from p > a / b on where b is positive.
    a = (challenger.work - incumbent.work) / rates.operations_per_second_one_core
    b = (incumbent.span - challenger.span) * rates.seconds_per_dependent_operation
    if b < 0 or (b == 0 and a >= 0):
        return None
    return max(math.floor(a / b) + 1, 1) if b > 0 else 1


def bounds_and_crossings(models: list[dict[str, Any]], counted: list[dict[str, Any]], rates: Rates) -> dict[str, list[dict[str, Any]]]:
    """The rows {"bounds", "crossings"} of benchmark.json, from its `models` and `counted`.

    The challenger is the first model of the family `attention`; without one there are no crossings.
    """
    challenger = next((model["name"] for model in models if model["family"] == "attention"), None)
    counts: dict[tuple[str, int, int], dict[str, WorkSpan]] = {}
    for row in counted:
        counts.setdefault((row["mode"], row["batch"], row["length"]), {})[row["model"]] = WorkSpan(row["work"], row["span"])
    bounds, crossings = [], []
    for (mode, batch, length), of_models in counts.items():
        what = {"mode": mode, "batch": batch, "length": length}
        for model, count in of_models.items():
            bounds += [{"model": model, **what, "processors": p, "seconds": brent_bound(count, p, rates)} for p in PROCESSORS]
            if challenger in of_models and model != challenger:
                processors = crossing(of_models[challenger], count, rates)
                crossings.append({"model": model, "against": challenger, **what, "processors": processors})
    return {"bounds": bounds, "crossings": crossings}
