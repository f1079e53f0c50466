"""The rows of a study of parallelism, by shape and by setting; what both its sentences and its charts are made of."""

import math
from collections import Counter
from dataclasses import dataclass

from transformer.evaluation.report.figures import ATTENTION, Figures, at, name, rows
from transformer.evaluation.report.wording import count, plural

MODES = ("training", "forward")
"""What is told first, and what second."""

Shape = tuple[int, int]
"""Batch and length."""


@dataclass(frozen=True)
class Setting:
    """What stays the same while the length grows: the batch, or the tokens of a batch."""

    batch: int | None = None
    tokens: int | None = None

    def holds(self, where: Shape) -> bool:
        """Whether a shape belongs to this setting."""
        batch, length = where
        if self.batch is not None:
            return batch == self.batch
        return self.tokens is None or batch * length == self.tokens

    def __str__(self) -> str:
        """What is said of it."""
        if self.batch is not None:
            return f"{plural(self.batch, 'text')} a batch"
        return "all shapes" if self.tokens is None else f"{count(self.tokens)} tokens a batch"


def settings(shapes: set[Shape]) -> list[Setting]:
    """The settings that these shapes were drawn from: tokens a batch first, then batches by size.

    A batch with two lengths is a setting, and so is a number of tokens at three lengths (fewer occur by chance, where batches cross).
    Where neither is found, each batch is a setting if two have the same length, and everything is one if not.
    """
    tokens = Counter(batch * length for batch, length in shapes)
    fixed_tokens = [Setting(tokens=total) for total, lengths in sorted(tokens.items()) if lengths >= 3]
    batches = Counter(batch for batch, length in shapes)
    fixed_batches = [Setting(batch=batch) for batch, lengths in sorted(batches.items()) if lengths >= 2]
    each_batch = [Setting(batch=batch) for batch in sorted(batches)] if len({length for _, length in shapes}) < len(shapes) else []
    return [*fixed_tokens, *fixed_batches] or each_batch or [Setting()]


def attention_name(figures: Figures) -> str:
    """The name of the attention model that the others are held against; "transformer" where the figures name none."""
    return next((name(model) for model in rows(figures, "models") if name(model, "family") == ATTENTION), "transformer")


def all_cores(figures: Figures) -> int | None:
    """The most cores that anything was measured with."""
    return max((int(cores) for row in rows(figures, "measured") if (cores := at(row, "cores"))), default=None)


def shape(row: Figures) -> Shape | None:
    """Batch and length of a row, or None where one is missing."""
    batch, length = at(row, "batch"), at(row, "length")
    return None if batch is None or length is None else (int(batch), int(length))


def medians(figures: Figures, model: str, mode: str, cores: int | None) -> dict[Shape, float]:
    """Median seconds a step of a model, by shape; what failed is absent."""
    return {
        where: seconds
        for row in rows(figures, "measured")
        if name(row, "model") == model and name(row, "mode") == mode and at(row, "cores") == cores
        if (where := shape(row)) and (seconds := at(row, "median"))
    }


def gains(figures: Figures, model: str, mode: str) -> dict[Shape, float]:
    """How many times as fast a step of a model is with all cores as with one, by shape; empty where only one number was measured."""
    cores = all_cores(figures)
    one, every = (medians(figures, model, mode, number) for number in (1, cores))
    return {} if cores == 1 else {where: one[where] / every[where] for where in one.keys() & every.keys()}


def growth_exponent(values: dict[int, float]) -> float | None:
    """The exponent e of the power law value = c · length^e that fits best: the slope of least squares between the logarithms.

    None where there are fewer than two lengths.
    """
    points = [(math.log(length), math.log(value)) for length, value in values.items() if length > 0 and value > 0]
    if len(points) < 2:
        return None
    x_mean, y_mean = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / spread


def counted(figures: Figures, model: str, mode: str, quantity: str) -> dict[int, float]:
    """A counted quantity by length: of one text where that was counted, else of the smallest batch."""
    found = [
        (where, value)
        for row in rows(figures, "counted")
        if name(row, "model") == model and name(row, "mode") == mode and (where := shape(row)) and (value := at(row, quantity)) is not None
    ]
    smallest = min((batch for (batch, _), _ in found), default=0)
    fixed = {length: value for (batch, length), value in found if batch == smallest}
    # Where each length has a batch of its own, there is no fixed batch to follow.
    return fixed if len(fixed) > 1 else {length: value for (_, length), value in found}
