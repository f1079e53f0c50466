"""The softmax over visible elements, with a backward pass that keeps its result and nothing else."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

# Below every score that is computed from finite states, and above float32's end, so that differences stay finite.
HIDDEN = -1e30


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def softmax(x: Float[Array, "*shape"], mask: Bool[Array, "*#shape"], dtype: DTypeLike) -> Float[Array, "*shape"]:
    """exp(x) over its sum along the last axis, where `mask` is True; 0 elsewhere, and throughout a row whose mask is False.

    Args:
        dtype: type in which the result is kept for the backward pass.
    """
    return _forward(x, mask, dtype)[0]


def _forward(x: Array, mask: Array, dtype: DTypeLike) -> tuple[Array, Array]:
    x = jnp.where(mask, x, HIDDEN)
    maximum = x.max(axis=-1, keepdims=True)
    exponentials = jnp.exp(x - maximum)
    total = exponentials.sum(axis=-1, keepdims=True)
    # In a row that sees nothing every exponential is 1.
    result = exponentials * jnp.where(maximum == HIDDEN, 0.0, 1.0 / total)
    return result, result.astype(dtype)


def _backward(_: DTypeLike, saved: Array, gradient: Array) -> tuple[Array, None]:
    # y_i has the derivatives y_i (1 - y_i) and, by x_j, -y_i y_j.
    y = saved.astype(jnp.float32)
    product = y * gradient
    return product - y * product.sum(axis=-1, keepdims=True), None


softmax.defvjp(_forward, _backward)
