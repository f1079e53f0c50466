"""Token embeddings, with what is added to them."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from transformer.model.positions import sinusoids


class Embedding(nnx.Module):
    """sqrt(width) times the sum of a token's, a position's and a type's vector, plus sinusoids (Vaswani et al. 2017, sections 3.4 and 3.5).

    The vectors are normal with standard deviation 1 / sqrt(width), so the sum has the scale of the sinusoids and of a layer's output,
    and a small learning rate still moves it fast enough. Learned positions, and types for pairs of texts, are added as in BERT
    (Devlin et al. 2019, figure 2).
    """

    def __init__(
        self,
        vocabulary_size: int,
        width: int,
        *,
        maximum_length: int,
        positions: Literal["sinusoidal", "learned", "rotary", "none"] = "none",
        pairs: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        """Make `tokens` [vocabulary, width]; `positions` [maximum_length, width] if they are learned; `types` [2, width] if `pairs`."""
        normal = jax.nn.initializers.normal(stddev=width**-0.5)
        self.tokens = nnx.Param(normal(rngs.params(), (vocabulary_size, width), jnp.float32))
        self.positions = nnx.Param(normal(rngs.params(), (maximum_length, width), jnp.float32)) if positions == "learned" else None
        self.types = nnx.Param(normal(rngs.params(), (2, width), jnp.float32)) if pairs else None
        self.sinusoidal = positions == "sinusoidal"

    def __call__(
        self, tokens: Int[Array, "batch length"], positions: Int[Array, "batch length"], types: Int[Array, "batch length"] | None = None
    ) -> Float[Array, "batch length width"]:
        """Embed; `positions` are each below length, `types` are 0 in the first text of a pair and 1 in the second (without them, 0)."""
        x = self.tokens[...][tokens]
        if self.positions is not None:
            x = x + self.positions[...][positions]
        if self.types is not None:
            x = x + self.types[...][jnp.zeros_like(tokens) if types is None else types]
        width = x.shape[-1]
        x = x * width**0.5
        if self.sinusoidal:
            x = x + sinusoids(tokens.shape[1], width)[positions]
        return x
