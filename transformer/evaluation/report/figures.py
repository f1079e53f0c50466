"""Reading figures of which any may be missing: a report is drawn from what was measured, never from what should have been."""

import math
from typing import Any

Figures = dict[str, Any]

ATTENTION, RECURRENCE, BAG_OF_WORDS = "attention", "recurrence", "bag of words"
"""Families of models that the report treats apart: the claim, what it is held against, and the floor."""


def number(value: Any) -> float | None:
    """The value where it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def section(figures: Figures, key: str) -> Figures:
    """The dictionary at `key`; an empty one where there is none."""
    value = figures.get(key)
    return value if isinstance(value, dict) else {}


def rows(figures: Figures, key: str) -> list[Figures]:
    """The dictionaries of the list at `key`; none where there is no list."""
    value = figures.get(key)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def at(figures: Figures, *path: str) -> float | None:
    """The number at the end of a path of keys, or None."""
    for key in path[:-1]:
        figures = section(figures, key)
    return number(figures.get(path[-1]))


def name(figures: Figures, key: str = "name") -> str:
    """The text at `key`, empty where there is none."""
    value = figures.get(key)
    return "" if value is None else str(value)


def on_processors(figures: Figures) -> bool:
    """Whether processors did the work, and no accelerator; so it is taken to be where the figures do not tell."""
    return name(section(figures, "machine"), "device") in {"cpu", ""}


def machine_name(figures: Figures) -> str:
    """What did the work: the processor's name, or the accelerator's; empty where neither is known."""
    machine = section(figures, "machine")
    names = [name(machine, "processor"), name(machine, "device_name")]
    return next(filter(None, names if name(machine, "device") == "cpu" else reversed(names)), "")
