"""Texts as unit vectors whose cosines tell how near their meanings are."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int, Key

from transformer.model.classifier import pool
from transformer.model.text_encoder import TextEncoder


class SentenceEmbedder(nnx.Module):
    """An encoder, mean pooling, and normalization to length 1 (Reimers and Gurevych 2019, section 3)."""

    def __init__(self, encoder: TextEncoder) -> None:
        """Take the encoder; there are no further parameters."""
        self.encoder = encoder

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch width"]:
        """The vector of each row's text; zeros in a row of padding only."""
        return unit(pool(self.encoder(tokens, segments, positions, types, key=key), segments, "mean"))

    def pairs(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"],
        *,
        between: int = 0,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch width"], Float[Array, "batch width"]]:
        """The vectors of the first and of the second text of each row. Neither sees the other: they are segments of a packed row.

        The row's first token, which begins every text that stands alone, is put before the second text too: both are trained in the
        form in which they will be searched.

        Args:
            between: tokens between the two that belong to neither.
        """
        start = jnp.sum((segments != 0) & (types == 0), axis=1, keepdims=True) - between
        end = jnp.sum(segments != 0, axis=1, keepdims=True) - between
        columns = jax.lax.broadcasted_iota(jnp.int32, (tokens.shape[0], tokens.shape[1] + 1), 1)
        text = jnp.where(columns < start, 1, jnp.where(columns <= end, 2, 0))
        shifted = jnp.take_along_axis(tokens, columns + jnp.where(columns > start, between - 1, 0), axis=1, mode="clip")
        widened = jnp.where(columns == start, tokens[:, :1], shifted)
        states = self.encoder(widened, text, (columns - start * (text == 2)) * (text != 0), jnp.zeros_like(text), key=key)
        first, other = (unit(pool(states, (text == number).astype(jnp.int32), "mean")) for number in (1, 2))
        return first, other


def unit(vectors: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
    """Each vector divided by its length; zeros stay zeros, and their gradient is finite."""
    squares = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    return vectors / jnp.sqrt(jnp.maximum(squares, 1e-24))
