"""The attention of 2015, additive attention, over the states of any encoder: as pooling, and from each token to all of its text."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

from transformer.model.attention import additive_scores, attention_weights, segment_mask, weighted_sum
from transformer.model.linear import Linear, glorot_uniform
from transformer.model.products import product

QUERY_BLOCK = 16


class AdditiveAttention(nnx.Module):
    """The weights softmax_j(vᵀ tanh(W s_i + U h_j + b)) of states h_j for queries s_i (Bahdanau et al. 2015, section A.1.2).

    v and b start at zero, as theirs do. So at first all weights are equal, and the weighted sum is the mean.
    """

    def __init__(self, width: int, *, learned_query: bool = False, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs) -> None:
        """Make the linear layer `key` (U and b), `vector` (v) and, where the query is no parameter itself, `query_weight` (W).

        A learned query enters as W s + b, which is one vector: b.
        """
        self.key = Linear(width, width, dtype=dtype, rngs=rngs)
        self.query_weight = None if learned_query else nnx.Param(glorot_uniform(rngs.params(), (width, width), jnp.float32))
        self.vector = nnx.Param(jnp.zeros(width, jnp.float32))
        self.dtype = jnp.dtype(dtype)

    def query(self, states: Float[Array, "batch query_length width"]) -> Float[Array, "batch query_length width"]:
        """W s; zeros for a learned query."""
        if self.query_weight is None:
            return jnp.zeros_like(states)
        return product(states, self.query_weight[...], self.dtype)

    def weights(
        self,
        query: Float[Array, "batch query_length width"],
        key: Float[Array, "batch length width"],
        mask: Bool[Array, "batch query_length length"],
    ) -> Float[Array, "batch query_length length"]:
        """The weights of projected keys for projected queries, which see the keys where `mask` is True."""
        return attention_weights(additive_scores(query, key, self.vector[...]), mask, self.dtype)


class AttentionPooling(nnx.Module):
    """A text's states averaged by additive attention, with one query a text.

    The query is learned, which gives the context vector attention of Yang et al. (2016, equations 5 to 7); or it is the text's final state,
    from which Bahdanau's decoder too makes its first query (2015, section A.2.2).
    """

    def __init__(self, width: int, *, final_state: bool, reverse_width: int = 0, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs) -> None:
        """Make `attention`.

        Args:
            final_state: ask with the text's final state.
            reverse_width: how many of the states' last columns come from reading backward, so that the first token's are final.
        """
        self.attention = AdditiveAttention(width, learned_query=not final_state, dtype=dtype, rngs=rngs)
        self.reverse_width = reverse_width
        self.dtype = jnp.dtype(dtype)

    def __call__(self, states: Float[Array, "batch length width"], segments: Int[Array, "batch length"]) -> Float[Array, "batch width"]:
        """The weighted sum; zeros in a row of padding only."""
        return weighted_sum(self.weights(states, segments)[:, None], states, self.dtype)[:, 0]

    def weights(self, states: Float[Array, "batch length width"], segments: Int[Array, "batch length"]) -> Float[Array, "batch length"]:
        """The weight of each token; padding (segment 0) has 0."""
        query = self.attention.query(final_state(states, segments, self.reverse_width)[:, None])
        return self.attention.weights(query, self.attention.key(states), (segments != 0)[:, None])[:, 0]


def final_state(
    states: Float[Array, "batch length width"], segments: Int[Array, "batch length"], reverse_width: int
) -> Float[Array, "batch width"]:
    """The state of each row's last token; in the last `reverse_width` columns, which were read backward, that of its first."""
    length, width = states.shape[1:]
    real = segments != 0
    first, last = jnp.argmax(real, axis=1), length - 1 - jnp.argmax(real[:, ::-1], axis=1)
    end = jnp.where(jnp.arange(width) < width - reverse_width, last[:, None], first[:, None])
    # A sum, because a gather's gradient is a scatter, which is slower and does not stay on its device.
    return jnp.where(jnp.arange(length)[:, None] == end[:, None], states, 0.0).sum(axis=1)


class IntraAttention(nnx.Module):
    """Each state asks all states of its text by additive attention: intra-attention (Cheng et al. 2016, section 3.2).

    What it gets is merged with the state as in Luong et al. (2015, equation 5): tanh(W [context; state] + b). Cheng et al. attend inside
    the recurrence, to the states so far; attention over finished states is not sequential.
    """

    def __init__(self, width: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs) -> None:
        """Make `attention` and the linear layer `output`."""
        self.attention = AdditiveAttention(width, dtype=dtype, rngs=rngs)
        self.output = Linear(2 * width, width, dtype=dtype, rngs=rngs)
        self.dtype = jnp.dtype(dtype)

    def __call__(
        self, states: Float[Array, "batch length width"], segments: Int[Array, "batch length"]
    ) -> Float[Array, "batch length width"]:
        """The new state of each token, which depends on the states of its segment only."""
        batch, length, width = states.shape
        blocks = -(-length // QUERY_BLOCK)
        filler = blocks * QUERY_BLOCK - length
        query = jnp.pad(self.attention.query(states), ((0, 0), (0, filler), (0, 0))).reshape(batch, blocks, QUERY_BLOCK, width)
        query_segments = jnp.pad(segments, ((0, 0), (0, filler))).reshape(batch, blocks, QUERY_BLOCK)
        key = self.attention.key(states)

        # Scores of all pairs at once would have width x length x length hyperbolic tangents a text in memory.
        @jax.checkpoint
        def attend(block: tuple[Array, Array]) -> Array:
            weights = self.attention.weights(block[0], key, segment_mask(block[1], segments))
            return weighted_sum(weights, states, self.dtype)

        context = jax.lax.map(attend, (query.swapaxes(0, 1), query_segments.swapaxes(0, 1)))
        context = context.swapaxes(0, 1).reshape(batch, blocks * QUERY_BLOCK, width)[:, :length]
        return jnp.tanh(self.output(jnp.concatenate([context, states], axis=-1)))

    def weights(
        self, states: Float[Array, "batch length width"], segments: Int[Array, "batch length"]
    ) -> Float[Array, "batch length length"]:
        """The weights with which each token looks at each."""
        return self.attention.weights(self.attention.query(states), self.attention.key(states), segment_mask(segments, segments))
