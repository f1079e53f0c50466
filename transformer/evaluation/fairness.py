"""When models are of one size, so that a comparison of them is fair."""

from collections.abc import Collection, Mapping

from transformer.config.errors import UsageError

PARAMETER_TOLERANCE = 0.05
"""Share by which the largest of models of one size may exceed the smallest, in parameters without embeddings."""


def of_one_size(sizes: Collection[int | float]) -> bool:
    """Whether the largest of these numbers of parameters exceeds the smallest by 5 % at most."""
    return max(sizes) <= min(sizes) * (1 + PARAMETER_TOLERANCE)


def require_one_size(sizes: Mapping[str, int], remedy: str) -> None:
    """Raises UsageError where models of these names and numbers of parameters without embeddings are not of one size.

    Args:
        remedy: what brings them together, as in "by model.hidden in a config".
    """
    if not of_one_size(sizes.values()):
        smallest, largest = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
        raise UsageError(
            f"a comparison would not be fair: {largest} has {sizes[largest]:,} parameters without embeddings and {smallest} has "
            f"{sizes[smallest]:,}; bring them within {PARAMETER_TOLERANCE:.0%}, {remedy}"
        )
