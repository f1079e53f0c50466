"""Parameters and their paths in a model: of a pytree, and of nested dictionaries."""

from collections.abc import Mapping
from typing import Any

import jax


def names_on_path(path: tuple[Any, ...]) -> list[str]:
    """The names on a parameter's path in its model, such as `encoder`, `layers`, `0`, `attention`, `query`, `weight`.

    What belongs to a member of an ensemble has the path that it would have in that member alone.
    """
    names = [jax.tree_util.keystr((key,), simple=True) for key in path]
    return names[2:] if names[0] == "members" else names


def flat(nested: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Each leaf by its path, such as `encoder.layers.0.attention.query.weight`."""
    result: dict[str, Any] = {}
    for name, value in nested.items():
        result |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return result


def nested(leaves: Mapping[str, Any]) -> dict[Any, Any]:
    """What `flat` was made of; layers have their number as key."""
    result: dict[Any, Any] = {}
    for path, leaf in leaves.items():
        inner = result
        *parents, name = path.split(".")
        for parent in parents:
            inner = inner.setdefault(int(parent) if parent.isdecimal() else parent, {})
        inner[name] = leaf
    return result


def layers_apart(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a path for each layer where layers are scanned, and so have one path together."""
    result: dict[str, Any] = {}
    for path, leaf in leaves.items():
        inside = path.removeprefix("encoder.layers.")
        if inside == path or inside.partition(".")[0].isdecimal():
            result[path] = leaf
        else:
            result |= {f"encoder.layers.{index}.{inside}": layer for index, layer in enumerate(leaf)}
    return result
