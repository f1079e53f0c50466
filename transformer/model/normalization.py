"""Layer normalization and its simpler relative."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from transformer.config import schema

EPSILON = 1e-6


class LayerNorm(nnx.Module):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the last axis (Ba et al. 2016, equation 4)."""

    def __init__(self, width: int, *, epsilon: float = EPSILON, bias: bool = True) -> None:
        """Make the parameters `scale` (ones) and `bias` (zeros, or None for no bias)."""
        self.scale = nnx.Param(jnp.ones(width, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32)) if bias else None
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        return _layer_norm(x, self.scale[...], None if self.bias is None else self.bias[...], self.epsilon)


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x**2) + epsilon) * scale over the last axis (Zhang and Sennrich 2019, equation 4)."""

    def __init__(self, width: int, *, epsilon: float = EPSILON) -> None:
        """Make the parameter `scale` (ones)."""
        self.scale = nnx.Param(jnp.ones(width, jnp.float32))
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        return _rms_norm(x, self.scale[...], self.epsilon)


def make_norm(config: schema.Transformer, *, bias: bool) -> LayerNorm | RMSNorm:
    """The norm of states that `model.norm` names; RMSNorm never has a bias."""
    match config.norm:
        case "layer":
            return LayerNorm(config.width, epsilon=config.norm_epsilon, bias=bias)
        case "rms":
            return RMSNorm(config.width, epsilon=config.norm_epsilon)


# Recomputed in the backward pass: that is cheaper than to write the intermediate arrays to memory and read them back.
@partial(jax.checkpoint, static_argnums=3)
def _layer_norm(x: Array, scale: Array, bias: Array | None, epsilon: float) -> Array:
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.square(centered).mean(axis=-1, keepdims=True)
    scaled = centered * jax.lax.rsqrt(variance + epsilon) * scale
    return scaled if bias is None else scaled + bias


@partial(jax.checkpoint, static_argnums=2)
def _rms_norm(x: Array, scale: Array, epsilon: float) -> Array:
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + epsilon) * scale
