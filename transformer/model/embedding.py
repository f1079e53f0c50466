"""Token embeddings, with what is added to them."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from transformer.config.schema.model import Positions
from transformer.model.positions import sinusoids

SPREAD_BEFORE_NORM = 0.02


class Embedding(nnx.Module):
    """sqrt(width) times the sum of a token's, a position's and a type's vector, plus sinusoids (Vaswani et al. 2017, sections 3.4 and 3.5).

    The vectors are normal with standard deviation 1 / sqrt(width), so the sum has the scale of the sinusoids and of a layer's output,
    and a small learning rate still moves it fast enough. Learned positions, and types for pairs of texts, are added as in BERT
    (Devlin et al. 2019, figure 2).

    Where a norm follows, which sets the scale, the vectors start with BERT's standard deviation 0.02 and nothing is multiplied.
    """

    def __init__(
        self,
        vocabulary_size: int,
        width: int,
        *,
        maximum_positions: int = 0,
        positions: Positions = "none",
        types: int = 0,
        norm_follows: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        """Make `tokens` [vocabulary, width]; `positions` [maximum_positions, width] if they are learned; `types` [types, width] if any."""
        normal = jax.nn.initializers.normal(stddev=SPREAD_BEFORE_NORM if norm_follows else width**-0.5)
        self.tokens = nnx.Param(normal(rngs.params(), (vocabulary_size, width), jnp.float32))
        self.positions = nnx.Param(normal(rngs.params(), (maximum_positions, width), jnp.float32)) if positions == "learned" else None
        self.types = nnx.Param(normal(rngs.params(), (types, width), jnp.float32)) if types else None
        self.sinusoidal = positions == "sinusoidal"
        self.scale = 1.0 if norm_follows else width**0.5

    def __call__(
        self, tokens: Int[Array, "batch length"], positions: Int[Array, "batch length"], types: Int[Array, "batch length"] | None = None
    ) -> Float[Array, "batch length width"]:
        """Embed; `positions` are each below length, `types` are 0 in the first text of a pair and 1 in the second (without them, 0).

        A model of one type, as some published ones are, does not tell the two texts apart.
        """
        x = self.tokens[...][tokens]
        if self.positions is not None:
            x = x + self.positions[...][positions]
        if self.types is not None:
            x = x + self.types[...][jnp.zeros_like(tokens) if types is None else jnp.minimum(types, self.types.shape[0] - 1)]
        x = x * self.scale
        if self.sinusoidal:
            x = x + sinusoids(tokens.shape[1], x.shape[-1])[positions]
        return x
