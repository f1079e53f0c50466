"""Attention in its three steps: scores, weights, weighted sum; and multi-head self-attention made of them.

A query is compared with every key, a softmax turns these scores into weights, and the values are averaged by the weights:

    attention(Q, K, V) = softmax(Q Kᵀ / sqrt(head_dim)) V                               (Vaswani et al. 2017, equation 1)

Only the first step differs from the attention that came before (Bahdanau et al. 2015): `additive_scores` stands there for
`attention_scores`, and the other two steps are the same.

The functions take any leading axes (none, a batch, a batch and heads) and can be used alone. `dtype` (float32 or bfloat16) is the type to
which the inputs of products are rounded; products sum in float32, and all else is float32.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key

from transformer.model.dropout import dropout
from transformer.model.linear import Linear
from transformer.model.positions import rotate
from transformer.model.products import product, product_with_transpose
from transformer.model.softmax import softmax


@partial(jax.jit, static_argnames="dtype")
def attention_scores(
    query: Float[Array, "*batch query_length head_dim"], key: Float[Array, "*batch key_length head_dim"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "*batch query_length key_length"]:
    """Step 1. How well each query fits each key: their inner product over sqrt(head_dim) (Vaswani et al. 2017, section 3.2.1)."""
    return product_with_transpose(query / math.sqrt(query.shape[-1]), key, dtype)


@jax.jit
def additive_scores(
    query: Float[Array, "*batch query_length hidden"], key: Float[Array, "*batch key_length hidden"], vector: Float[Array, " hidden"]
) -> Float[Array, "*batch query_length key_length"]:
    """Step 1, the older way: vᵀ tanh(W s + U h) (Bahdanau et al. 2015, section A.1.2).

    Args:
        query: W s, what asks, after its projection.
        key: U h, what is asked, after its projection.
        vector: v.
    """

    # The backward pass computes the hyperbolic tangents anew: kept, they would take `hidden` times the memory of the scores.
    @jax.checkpoint
    def scores(query: Array, key: Array, vector: Array) -> Array:
        return (jnp.tanh(query[..., :, None, :] + key[..., None, :, :]) * vector).sum(axis=-1)

    return scores(query, key, vector)


@partial(jax.jit, static_argnames="dtype")
def attention_weights(
    scores: Float[Array, "*batch query_length key_length"],
    mask: Bool[Array, "*#batch query_length key_length"] | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*batch query_length key_length"]:
    """Step 2. The softmax of the scores over the keys: each query's weights are positive and sum to 1.

    Args:
        mask: True where a query may see a key. Other keys get weight 0, and where a query may see no key at all, every weight and every
            gradient is 0: so padding stays finite and takes nothing from anywhere.
    """
    return softmax(scores, jnp.array(True) if mask is None else mask, dtype)


@partial(jax.jit, static_argnames="dtype")
def weighted_sum(
    weights: Float[Array, "*batch query_length key_length"],
    value: Float[Array, "*batch key_length value_dim"],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*batch query_length value_dim"]:
    """Step 3. For each query the values, averaged by its weights."""
    return product(weights, value, dtype)


def attention(
    query: Float[Array, "*batch query_length head_dim"],
    key: Float[Array, "*batch key_length head_dim"],
    value: Float[Array, "*batch key_length value_dim"],
    mask: Bool[Array, "*#batch query_length key_length"] | None = None,
    dtype: DTypeLike = jnp.float32,
    *,
    dropout_rate: float = 0.0,
    dropout_key: Key[Array, ""] | None = None,
) -> Float[Array, "*batch query_length value_dim"]:
    """The three steps together (Vaswani et al. 2017, equation 1), with dropout on the weights where a key for it is given."""
    scores = attention_scores(query, key, dtype)
    weights = attention_weights(scores, mask, dtype)
    return weighted_sum(dropout(weights, dropout_rate, dropout_key), value, dtype)


def segment_mask(
    query_segments: Int[Array, "batch query_length"], key_segments: Int[Array, "batch key_length"]
) -> Bool[Array, "batch query_length key_length"]:
    """Which keys a query may see: those of its own segment (numbered from 1; 0 is padding, which sees and shows nothing)."""
    same = query_segments[:, :, None] == key_segments[:, None, :]
    return same & (key_segments != 0)[:, None, :]


def window_mask(positions: Int[Array, "batch length"], window: int) -> Bool[Array, "batch length length"]:
    """Which keys are within `window` tokens of the query, to either side (local attention; Beltagy et al. 2020, section 3.1)."""
    return jnp.abs(positions[:, :, None] - positions[:, None, :]) <= window


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
        attended = attention(
            queries,
            keys,
            self._split(self.value(x)),
            mask[:, None],
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
