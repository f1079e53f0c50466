"""What was read before a token, forward or backward. Arrays are time-major, [length, batch, ...]."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Shaped


def step_before(x: Shaped[Array, "length *rest"], reverse: bool) -> Shaped[Array, "length *rest"]:
    """At each position what `x` has at the one read before it, and zeros at the first; `reverse` reads from the last position on."""
    zero = jnp.zeros_like(x[:1])
    return jnp.concatenate([x[1:], zero] if reverse else [zero, x[:-1]])


def continues_text(segments: Int[Array, "length batch"], reverse: bool) -> Float[Array, "length batch 1"]:
    """1 where a token goes on from the one that was read before it, 0 where a text begins and in padding.

    A text is a run of one segment number; `reverse` is reading from the last position to the first.
    """
    return ((segments == step_before(segments, reverse)) & (segments != 0)).astype(jnp.float32)[:, :, None]
