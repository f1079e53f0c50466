"""From a text with gaps to the tokens that fill them."""

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int, Key

from transformer.model.encoder import Encoder
from transformer.model.heads import LanguageModelHead


class MaskedLanguageModel(nnx.Module):
    """An encoder whose states tell the tokens themselves (BERT, Devlin et al. 2019, section 3.1)."""

    def __init__(self, encoder: Encoder, head: LanguageModelHead) -> None:
        """Put the head on the encoder, with whose token embeddings it works."""
        self.encoder = encoder
        self.head = head

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
        *,
        selected: Int[Array, "batch masked"],
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch masked vocabulary"]:
        """Logits of the tokens that stand, in each row, at the columns `selected`. Dropout is active exactly when a `key` is given."""
        states = self.encoder(tokens, segments, positions, types, key=key)
        # The head is as large as all layers together on a short text, and most of its work would be for nothing.
        chosen = jnp.take_along_axis(states, selected[:, :, None], axis=1)
        return self.head(chosen, self.encoder.embedding.tokens[...])
