"""What every encoder of texts gives to that which stands on it."""

from typing import Protocol, runtime_checkable

from jax import Array
from jaxtyping import Float, Int, Key


@runtime_checkable
class TextEncoder(Protocol):
    """From the tokens of texts to a state of each. Every kind of `model` in a config has one (`build.py`)."""

    output_width: int
    """Size of a state."""
    reverse_width: int
    """How many of a state's last columns come from reading backward, so that the first token's are final."""

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch length width"]:
        """The state of each token, which depends on tokens of its own segment only. Padding (segment 0) gets finite states.

        Args:
            positions: of each token in its text, from 0.
            types: 0 in the first text of a pair and 1 in the second; None for 0 everywhere.
            key: decides what drops out; None for no dropout.
        """

    def attention_weights(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
    ) -> Float[Array, "layers batch heads length length"] | None:
        """How much each token (fourth axis) looks at each (last axis), without dropout; None in an encoder without self-attention."""
