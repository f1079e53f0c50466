"""Layer normalization and its simpler relative."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

EPSILON = 1e-6


class LayerNorm(nnx.Module):
    """(x - mean) / sqrt(variance + 1e-6) * scale + bias over the last axis (Ba et al. 2016, equation 4)."""

    def __init__(self, width: int) -> None:
        """Make the parameters `scale` (ones) and `bias` (zeros)."""
        self.scale = nnx.Param(jnp.ones(width, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32))

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        return _layer_norm(x, self.scale[...], self.bias[...])


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x**2) + 1e-6) * scale over the last axis (Zhang and Sennrich 2019, equation 4)."""

    def __init__(self, width: int) -> None:
        """Make the parameter `scale` (ones)."""
        self.scale = nnx.Param(jnp.ones(width, jnp.float32))

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        return _rms_norm(x, self.scale[...])


def make_norm(kind: Literal["layer", "rms"], width: int) -> LayerNorm | RMSNorm:
    """The norm that `model.norm` names."""
    return LayerNorm(width) if kind == "layer" else RMSNorm(width)


# Recomputed in the backward pass: that is cheaper than to write the intermediate arrays to memory and read them back.
@jax.checkpoint
def _layer_norm(x: Array, scale: Array, bias: Array) -> Array:
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.square(centered).mean(axis=-1, keepdims=True)
    return centered * jax.lax.rsqrt(variance + EPSILON) * scale + bias


@jax.checkpoint
def _rms_norm(x: Array, scale: Array) -> Array:
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + EPSILON) * scale
