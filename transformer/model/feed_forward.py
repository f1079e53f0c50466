"""The feed-forward sublayer: the same two or three linear layers at every position."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from transformer.config.schema.model import Activation
from transformer.model.linear import Linear


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x Φ(x), Φ being the normal distribution function (Hendrycks and Gimpel 2016)."""
    # jax.nn.gelu takes erfc, which is exact for very negative x and costs twice the time.
    return 0.5 * x * (1.0 + jax.lax.erf(x * math.sqrt(0.5)))


NONLINEARITIES: dict[Activation, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": gelu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "geglu": gelu,
    "swiglu": jax.nn.silu,
}
GATED = ("geglu", "swiglu")


def inner_width(feed_forward: int, activation: Activation) -> int:
    """The width between the linear layers: `feed_forward`, or two thirds of it, rounded to a multiple of 8, where the activation is gated.

    A gated sublayer has three matrices where the others have two, so at two thirds the number of parameters stays the same (Shazeer 2020,
    section 3).
    """
    return max(8, round(feed_forward * 2 / 3 / 8) * 8) if activation in GATED else feed_forward


class FeedForward(nnx.Module):
    """f(x W₁ + b₁) W₂ + b₂ (Vaswani et al. 2017, equation 2), or gated: (f(x V + c) * (x W₁ + b₁)) W₂ + b₂ (Shazeer 2020, equation 6).
    Without biases, b₁, b₂ and c are left out.

    f is the ReLU, the GELU (Hendrycks and Gimpel 2016; exact or with its tanh approximation) or, in SwiGLU, x sigmoid(x).
    """

    def __init__(
        self,
        width: int,
        feed_forward: int,
        activation: Activation,
        *,
        bias: bool = True,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the linear layers `inner` (W₁), `output` (W₂) and, where the activation is gated, `gate` (V)."""
        inner = inner_width(feed_forward, activation)
        self.inner = Linear(width, inner, bias=bias, dtype=dtype, rngs=rngs)
        self.output = Linear(inner, width, bias=bias, dtype=dtype, rngs=rngs)
        self.gate = Linear(width, inner, bias=bias, dtype=dtype, rngs=rngs) if activation in GATED else None
        self.activation = activation

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        nonlinearity = NONLINEARITIES[self.activation]
        if self.gate is None:
            return self.output(jax.checkpoint(nonlinearity)(self.inner(x)))
        return self.output(jax.checkpoint(lambda gate, inner: nonlinearity(gate) * inner)(self.gate(x), self.inner(x)))
