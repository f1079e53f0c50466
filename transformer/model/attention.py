"""Attention in its three steps: scores, weights, weighted sum.

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
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key, UInt32

from transformer.model.dropout import dropout
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
    dropout_start: int | UInt32[Array, ""] = 0,
) -> Float[Array, "*batch query_length value_dim"]:
    """The three steps together (Vaswani et al. 2017, equation 1), with dropout on the weights where a key for it is given.

    Args:
        dropout_start: index of the first weight, where these are a block of a larger array of weights.
    """
    scores = attention_scores(query, key, dtype)
    weights = attention_weights(scores, mask, dtype)
    return weighted_sum(dropout(weights, dropout_rate, dropout_key, dropout_start), value, dtype)


def segment_mask(
    query_segments: Int[Array, "batch query_length"], key_segments: Int[Array, "batch key_length"]
) -> Bool[Array, "batch query_length key_length"]:
    """Which keys a query may see: those of its own segment (numbered from 1; 0 is padding, which sees and shows nothing)."""
    same = query_segments[:, :, None] == key_segments[:, None, :]
    return same & (key_segments != 0)[:, None, :]


def window_mask(positions: Int[Array, "batch length"], window: int) -> Bool[Array, "batch length length"]:
    """Which keys are within `window` tokens of the query, to either side (local attention; Beltagy et al. 2020, section 3.1)."""
    return jnp.abs(positions[:, :, None] - positions[:, None, :]) <= window
