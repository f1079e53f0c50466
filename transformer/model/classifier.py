"""From a text's states to its class."""

from collections.abc import Callable, Sequence
from typing import assert_never

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int, Key

from transformer.config.schema.model import Pooling
from transformer.model.additive import AttentionPooling
from transformer.model.dropout import dropout
from transformer.model.heads import HiddenLayer
from transformer.model.linear import Linear
from transformer.model.text_encoder import TextEncoder


def pool(states: Float[Array, "batch length width"], segments: Int[Array, "batch length"], pooling: Pooling) -> Float[Array, "batch width"]:
    """One vector a row: the first token's state, or the mean or the maximum over its tokens.

    Padding (segment 0) never counts; a row of padding only gives zeros. ValueError for poolings that have parameters (`additive.py`).
    """
    real = (segments != 0)[:, :, None]
    match pooling:
        case "first":
            return jnp.where(real[:, 0], states[:, 0], 0.0)
        case "mean":
            return jnp.where(real, states, 0.0).sum(axis=1) / jnp.maximum(real.sum(axis=1), 1)
        case "max":
            maximum = jnp.where(real, states, -jnp.inf).max(axis=1)
            return jnp.where(real.any(axis=1), maximum, 0.0)
        case "attention" | "final_state_attention":
            raise ValueError(f"pooling {pooling} has parameters; make an AttentionPooling for it")
        case _:
            assert_never(pooling)


class Classifier(nnx.Module):
    """An encoder, pooling, a hidden layer where there is one, dropout, and a linear head. Several poolings are concatenated.

    With a hidden layer this is BERT's classifier (where it is called pooler), DistilBERT's and ModernBERT's. RoBERTa's has dropout before
    its hidden layer as well.

    The head starts near zero (truncated normal, 0.02, as in BERT), so that the first loss is the logarithm of the number of classes.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        classes: int,
        pooling: Sequence[Pooling],
        dropout_rate: float,
        hidden: Callable[[int], HiddenLayer] | None = None,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        """Put a head for so many classes on the encoder; `attention_pooling` holds those poolings that have parameters, by name.

        Args:
            hidden: makes the hidden layer, given the width of what is pooled.
        """
        self.encoder = encoder
        self.attention_pooling = nnx.Dict(
            {
                kind: AttentionPooling(
                    encoder.output_width,
                    final_state=kind == "final_state_attention",
                    reverse_width=encoder.reverse_width,
                    dtype=dtype,
                    rngs=rngs,
                )
                for kind in pooling
                if kind in {"attention", "final_state_attention"}
            }
        )
        pooled_width = encoder.output_width * len(pooling)
        self.hidden = None if hidden is None else hidden(pooled_width)
        head_width = pooled_width if self.hidden is None else self.hidden.output_width
        self.head = Linear(head_width, classes, initializer=jax.nn.initializers.truncated_normal(0.02), rngs=rngs)
        self.pooling = tuple(pooling)
        self.dropout_rate = dropout_rate

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch classes"]:
        """Logits. Dropout is active exactly when a `key` is given."""
        encoder_key, pooled_key = (None, None) if key is None else (jax.random.fold_in(key, i) for i in range(2))
        states = self.encoder(tokens, segments, positions, types, key=encoder_key)
        parts = [
            self.attention_pooling[kind](states, segments) if kind in self.attention_pooling else pool(states, segments, kind)
            for kind in self.pooling
        ]
        pooled = jnp.concatenate(parts, axis=-1)
        hidden = pooled if self.hidden is None else self.hidden(pooled)
        return self.head(dropout(hidden, self.dropout_rate, pooled_key))
