"""LoRA: what a trained weight still has to learn, as a product of two narrow matrices."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from transformer.config import schema
from transformer.model.products import product


class LowRankSum(nnx.Module):
    """alpha / rank x A B, which is added to x W (Hu et al. 2021, section 4.1). At first B is zero."""

    def __init__(self, inputs: int, outputs: int, config: schema.LowRank, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs) -> None:
        """Make the parameters `down_weight` [inputs, rank] (A) and `up_weight` [rank, outputs] (B)."""
        normal = jax.nn.initializers.normal(stddev=inputs**-0.5)
        self.down_weight = nnx.Param(normal(rngs.params(), (inputs, config.rank), jnp.float32))
        self.up_weight = nnx.Param(jnp.zeros((config.rank, outputs), jnp.float32))
        self.scale = config.alpha / config.rank
        self.dtype = jnp.dtype(dtype)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        return product(product(x, self.down_weight[...], self.dtype), self.up_weight[...], self.dtype) * self.scale


def merge_low_rank(parameters: dict[Any, Any], config: schema.LowRank) -> dict[Any, Any]:
    """The same encoder without low-rank sums: each is added to the weight it belongs to.

    Args:
        parameters: nested dictionaries of arrays.
    """
    merged = {name: merge_low_rank(value, config) if isinstance(value, dict) else value for name, value in parameters.items()}
    if (low_rank := merged.pop("low_rank", None)) is not None:
        merged["weight"] = merged["weight"] + config.alpha / config.rank * (low_rank["down_weight"] @ low_rank["up_weight"])
    return merged
