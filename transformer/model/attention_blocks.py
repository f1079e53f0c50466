"""Attention, a block of queries after another, where that is faster: on CPUs.

The scores of many texts, heads and queries do not fit into a processor's cache. To write them to memory and read them again, several times
in a training step, takes longer than to compute them. So they are computed for as many queries at a time as fit, and the backward pass
computes them anew instead of reading them; all that is left with the square of a text's length is the mask, a byte for each pair of tokens
(Rabe and Staats 2021; Dao et al. 2022 cut the keys into blocks as well). No block waits for what another gives; that they come one after
another is the CPU's way.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.export import is_symbolic_dim
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Key, UInt32

from transformer.model.attention import attention
from transformer.model.products import rows_are_split

MOST_AT_ONCE = 2**23
"""As many scores as are computed without blocks: 32 MiB in float32. Of fewer, blocks cost more than they save."""
BLOCK = 2**20
"""Most scores of a block, unless one query has more."""

# What is cut with the texts, with the heads, and with the queries; all else is the same for each of them.
_CUT = ({"query", "key", "value", "mask"}, {"query", "key", "value"}, {"query", "mask"})

_at_once: ContextVar[bool] = ContextVar("_at_once", default=False)


@contextmanager
def attention_at_once() -> Iterator[None]:
    """What is traced within has no blocks: for whoever counts how long a chain of operations has to be."""
    token = _at_once.set(True)
    try:
        yield
    finally:
        _at_once.reset(token)


def attention_in_blocks(
    query: Float[Array, "batch heads query_length head_dim"],
    key: Float[Array, "batch heads key_length head_dim"],
    value: Float[Array, "batch heads key_length value_dim"],
    mask: Bool[Array, "batch query_length key_length"],
    dtype: DTypeLike = jnp.float32,
    *,
    dropout_rate: float = 0.0,
    dropout_key: Key[Array, ""] | None = None,
) -> Float[Array, "batch heads query_length value_dim"]:
    """`attention`, dropout included: on a CPU in blocks where there are many scores, elsewhere at once."""
    sizes = query.shape[:-1]

    def attend(inputs: dict[str, Array], start: UInt32[Array, ""]) -> Array:
        return attention(**inputs, dtype=dtype, dropout_rate=dropout_rate, dropout_key=dropout_key, dropout_start=start)

    def attend_in_blocks(inputs: dict[str, Array], start: UInt32[Array, ""]) -> Array:
        sizes = inputs["query"].shape[:-1]
        scores = [math.prod(sizes[axis:]) * inputs["key"].shape[-2] for axis in range(4)]
        axis = next((axis for axis, size in enumerate(sizes) if size > 1), None)
        if axis is None or scores[0] <= BLOCK:
            return jax.checkpoint(attend, prevent_cse=False)(inputs, start)
        count = math.ceil(sizes[axis] / max(BLOCK // scores[axis + 1], 1))
        size = math.ceil(sizes[axis] / count)
        blocks = {name: _blocks(x, axis, count, size) for name, x in inputs.items() if name in _CUT[axis]}
        starts = start + jnp.arange(count, dtype=jnp.uint32) * jnp.uint32(size * scores[axis + 1] % 2**32)
        attended = jax.lax.map(lambda block: attend_in_blocks(inputs | block[0], block[1]), (blocks, starts))
        joined = jnp.moveaxis(attended, 0, axis).reshape(*sizes[:axis], count * size, *sizes[axis + 1 :], -1)
        return jax.lax.slice_in_dim(joined, 0, sizes[axis], axis=axis)

    # A loop over texts would gather those that lie on other devices; and the length of an exported program's texts is not known.
    at_once = (
        _at_once.get()
        or jax.default_backend() != "cpu"
        or rows_are_split()
        or any(is_symbolic_dim(size) for size in sizes)
        or math.prod(sizes) * key.shape[-2] <= MOST_AT_ONCE
    )
    inputs = {"query": query, "key": key, "value": value, "mask": mask[:, None]}
    return (attend if at_once else attend_in_blocks)(inputs, jnp.uint32(0))


def _blocks(x: Array, axis: int, count: int, size: int) -> Array:
    # What fills up the last block sees nothing and is cut off again.
    filled = jnp.pad(x, [(0, count * size - x.shape[axis] if place == axis else 0) for place in range(x.ndim)])
    return jnp.moveaxis(filled.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :]), axis, 0)
