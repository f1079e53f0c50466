"""Self-attention in several heads."""

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key

from transformer.model.attention import attention_scores, attention_weights
from transformer.model.attention_blocks import attention_in_blocks
from transformer.model.linear import Linear
from transformer.model.positions import rotate


class MultiHeadAttention(nnx.Module):
    """Self-attention in several heads: each sees its own projection of the states (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        dropout_rate: float = 0.0,
        rotary_base: float | None = None,
        bias: bool = True,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the linear layers `query`, `key`, `value` and `output`.

        Args:
            rotary_base: base of rotary positions; None for no such positions.
            bias: whether the linear layers have one.
            dtype: the type of the products' inputs.
        """
        self.query = Linear(width, width, bias=bias, dtype=dtype, rngs=rngs)
        self.key = Linear(width, width, bias=bias, dtype=dtype, rngs=rngs)
        self.value = Linear(width, width, bias=bias, dtype=dtype, rngs=rngs)
        self.output = Linear(width, width, bias=bias, dtype=dtype, rngs=rngs)
        self.heads = heads
        self.dropout_rate = dropout_rate
        self.rotary_base = rotary_base
        self.dtype = jnp.dtype(dtype)

    def __call__(
        self,
        x: Float[Array, "batch length width"],
        mask: Bool[Array, "batch length length"],
        positions: Int[Array, "batch length"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch length width"]:
        """Attend from each token to those that `mask` shows it. Only rotary positions use `positions`; with a `key`, weights drop out."""
        queries, keys = self._queries_and_keys(x, positions)
        attended = attention_in_blocks(
            queries,
            keys,
            self._split(self.value(x)),
            mask,
            self.dtype,
            dropout_rate=self.dropout_rate,
            dropout_key=key,
        )
        return self.output(attended.swapaxes(1, 2).reshape(x.shape))

    def weights(
        self, x: Float[Array, "batch length width"], mask: Bool[Array, "batch length length"], positions: Int[Array, "batch length"]
    ) -> Float[Array, "batch heads length length"]:
        """The weights with which each token (third axis) looks at each (last axis), without dropout."""
        return attention_weights(attention_scores(*self._queries_and_keys(x, positions), self.dtype), mask[:, None], self.dtype)

    def _queries_and_keys(
        self, x: Float[Array, "batch length width"], positions: Int[Array, "batch length"]
    ) -> tuple[Float[Array, "batch heads length head_dim"], Float[Array, "batch heads length head_dim"]]:
        queries, keys = self._split(self.query(x)), self._split(self.key(x))
        if self.rotary_base is None:
            return queries, keys
        return rotate(queries, positions, self.rotary_base), rotate(keys, positions, self.rotary_base)

    def _split(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch heads length head_dim"]:
        batch, length, width = x.shape
        return x.reshape(batch, length, self.heads, width // self.heads).swapaxes(1, 2)
