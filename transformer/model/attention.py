"""Attention in its three steps: scores, weights, weighted sum; and multi-head self-attention made of them.

A query is compared with every key, a softmax turns these scores into weights, and the values are averaged by the weights:

    attention(Q, K, V) = softmax(Q Kᵀ / sqrt(head_dim)) V                               (Vaswani et al. 2017, equation 1)

The three functions take any leading axes (none, a batch, a batch and heads) and can be used alone. Products take their inputs in the type
in which they come (float32 or bfloat16) and sum in float32.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key

from transformer.model.dropout import dropout
from transformer.model.linear import Linear
from transformer.model.positions import rotate


@jax.jit
def attention_scores(
    query: Float[Array, "*batch query_length head_dim"], key: Float[Array, "*batch key_length head_dim"]
) -> Float[Array, "*batch query_length key_length"]:
    """Step 1. How well each query fits each key: their inner product over sqrt(head_dim) (Vaswani et al. 2017, section 3.2.1)."""
    return jnp.einsum("...qd,...kd->...qk", query, key, preferred_element_type=jnp.float32) * query.shape[-1] ** -0.5


@jax.jit
def attention_weights(
    scores: Float[Array, "*batch query_length key_length"], mask: Bool[Array, "*#batch query_length key_length"] | None = None
) -> Float[Array, "*batch query_length key_length"]:
    """Step 2. The softmax of the scores over the keys: each query's weights are positive and sum to 1.

    Args:
        mask: True where a query may see a key; other keys get weight 0, and a query that may see no key at all gets weights 0 only (and the
            gradient 0), so that padding stays finite and takes nothing from anywhere.
    """
    visible = True if mask is None else mask
    maximum = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True, where=visible, initial=-1e30))
    # The inner `where` keeps exp from overflowing on hidden keys: inf there would turn the gradient into nan.
    exponentials = jnp.where(visible, jnp.exp(jnp.where(visible, scores - maximum, 0.0)), 0.0)
    total = exponentials.sum(axis=-1, keepdims=True)
    return exponentials / jnp.where(total == 0.0, 1.0, total)


@jax.jit
def weighted_sum(
    weights: Float[Array, "*batch query_length key_length"], value: Float[Array, "*batch key_length head_dim"]
) -> Float[Array, "*batch query_length head_dim"]:
    """Step 3. For each query the values, averaged by its weights. The weights are rounded to the values' type."""
    return jnp.einsum("...qk,...kd->...qd", weights.astype(value.dtype), value, preferred_element_type=jnp.float32)


def attention(
    query: Float[Array, "*batch query_length head_dim"],
    key: Float[Array, "*batch key_length head_dim"],
    value: Float[Array, "*batch key_length value_dim"],
    mask: Bool[Array, "*#batch query_length key_length"] | None = None,
    *,
    dropout_rate: float = 0.0,
    dropout_key: Key[Array, ""] | None = None,
) -> Float[Array, "*batch query_length value_dim"]:
    """The three steps together (Vaswani et al. 2017, equation 1), with optional dropout on the weights."""
    weights = attention_weights(attention_scores(query, key), mask)
    return weighted_sum(dropout(weights, dropout_rate, dropout_key), value)


def segment_mask(
    query_segments: Int[Array, "batch query_length"], key_segments: Int[Array, "batch key_length"]
) -> Bool[Array, "batch query_length key_length"]:
    """Which keys a query may see: those of its own segment (numbered from 1; 0 is padding, which sees and shows nothing)."""
    same = query_segments[:, :, None] == key_segments[:, None, :]
    return same & (key_segments != 0)[:, None, :]


class MultiHeadAttention(nnx.Module):
    """Self-attention in several heads: each sees its own projection of the states (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(
        self, width: int, heads: int, *, dropout_rate: float = 0.0, rotary: bool = False, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ) -> None:
        """Make the linear layers `query`, `key`, `value` and `output`; `dtype` is the type of the products' inputs."""
        self.query = Linear(width, width, dtype=dtype, rngs=rngs)
        self.key = Linear(width, width, dtype=dtype, rngs=rngs)
        self.value = Linear(width, width, dtype=dtype, rngs=rngs)
        self.output = Linear(width, width, dtype=dtype, rngs=rngs)
        self.heads = heads
        self.dropout_rate = dropout_rate
        self.rotary = rotary
        self.dtype = jnp.dtype(dtype)

    def __call__(
        self,
        x: Float[Array, "batch length width"],
        mask: Bool[Array, "batch length length"],
        positions: Int[Array, "batch length"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch length width"]:
        """Attend from each token to those of its text. `positions` are used by rotary positions only; with a `key`, weights drop out."""
        queries, keys, values = (self._split(project(x)) for project in (self.query, self.key, self.value))
        if self.rotary:
            queries, keys = rotate(queries, positions), rotate(keys, positions)
        attended = attention(
            queries.astype(self.dtype),
            keys.astype(self.dtype),
            values.astype(self.dtype),
            mask[:, None],
            dropout_rate=self.dropout_rate,
            dropout_key=key,
        )
        return self.output(attended.swapaxes(1, 2).reshape(x.shape))

    def _split(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch heads length head_dim"]:
        batch, length, width = x.shape
        return x.reshape(batch, length, self.heads, width // self.heads).swapaxes(1, 2)
