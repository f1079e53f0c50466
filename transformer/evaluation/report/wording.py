"""Numbers as people read them, with their units; an en dash stands for what is not known."""

import math
from collections.abc import Callable, Sequence

UNKNOWN = "–"

Number = int | float


def percent(share: Number | None) -> str:
    """A share as per cent with two decimals, which tell apart two texts in ten thousand."""
    return UNKNOWN if share is None else f"{100 * share:.2f} %"


def points(difference: Number | None) -> str:
    """The size of a difference of two shares, in percentage points."""
    return UNKNOWN if difference is None else f"{abs(100 * difference):.2f} points"


def count(value: Number | None) -> str:
    """A whole number with separators of thousands."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def significant(value: Number | None, digits: int = 3) -> str:
    """A number with so many significant digits, without exponents where it can be read without."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude >= 9:
        return f"{value:.{digits - 1}e}"
    rounded = round(value, digits - 1 - magnitude)
    return f"{rounded:,.{max(digits - 1 - magnitude, 0)}f}"


def ratio(value: Number | None) -> str:
    """How many times."""
    return UNKNOWN if value is None else f"{significant(value)} ×"


def seconds(value: Number | None) -> str:
    """A time in the unit that suits its size."""
    if value is None:
        return UNKNOWN
    if value >= 120:
        minutes, rest = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{significant(value / scale)} {unit}"
    return f"{significant(value * 1e9)} ns"


def memory(value: Number | None) -> str:
    """Bytes in binary units."""
    if value is None:
        return UNKNOWN
    return f"{significant(value / 2**30)} GiB" if value >= 2**30 else f"{significant(value / 2**20)} MiB"


def p_value(value: Number | None) -> str:
    """A p-value, no smaller than can be told from the resamples."""
    if value is None:
        return UNKNOWN
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def between(low: Number | None, high: Number | None, wording: Callable[[Number], str]) -> str:
    """An interval, in the words of its ends."""
    return UNKNOWN if low is None or high is None else f"{wording(low)} to {wording(high)}"


def listing(parts: Sequence[str], last: str = "and") -> str:
    """Names in a row: a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}" if parts else ""


def plural(number: Number, noun: str) -> str:
    """A count with its noun."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def capital(text: str) -> str:
    """The text with its first letter a capital."""
    return text[:1].upper() + text[1:]
