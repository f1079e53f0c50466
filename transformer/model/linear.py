"""The linear layer."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from transformer.config import schema
from transformer.model.low_rank import LowRankSum
from transformer.model.products import product

glorot_uniform = jax.nn.initializers.glorot_uniform()


class Linear(nnx.Module):
    """y = x W + b, or y = x W; with a low-rank sum (`low_rank.py`), W + s A B in place of W.

    W is drawn by Glorot and Bengio (2010, equation 16), as the 2017 Transformer's is: its spread follows the layer's width, where BERT's
    fixed 0.02 fits widths near 768 only. b starts at zero.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = jnp.float32,
        initializer: jax.nn.initializers.Initializer = glorot_uniform,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the parameters `weight` [inputs, outputs] and `bias` [outputs] or None; `dtype` is the type of the product's inputs."""
        self.weight = nnx.Param(initializer(rngs.params(), (inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs, jnp.float32)) if bias else None
        self.low_rank: LowRankSum | None = None
        self.dtype = jnp.dtype(dtype)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        y = product(x, self.weight[...], self.dtype)
        if self.low_rank is not None:
            y = y + self.low_rank(x)
        return y if self.bias is None else y + self.bias[...]


def add_low_rank(module: nnx.Module, config: schema.LowRank, *, rngs: nnx.Rngs) -> None:
    """Give every linear layer inside `module` a low-rank sum."""
    for _, part in nnx.iter_modules(module):
        if isinstance(part, Linear):
            part.low_rank = nnx.data(LowRankSum(part.weight.shape[0], part.weight.shape[1], config, dtype=part.dtype, rngs=rngs))
