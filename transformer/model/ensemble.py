"""Several classifiers that learn the same from different beginnings."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int, Key

from transformer.model.classifier import Classifier


class Ensemble(nnx.Module):
    """A deep ensemble (Lakshminarayanan et al. 2017): each member learns for itself, and the mean of their probabilities predicts.

    Each is wrong in its own way where it learned chance features of the training texts, and the mean is wrong less often than any of them.
    They share the batches, the learning rate, and the gradient's clipping, which looks at the norm of all members' gradients together.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        """Put classifiers of the same classes side by side."""
        self.members = nnx.List(members)

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "members batch classes"]:
        """Each member's logits. Dropout, of each member its own, is active exactly when a `key` is given."""
        keys = [None if key is None else jax.random.fold_in(key, number) for number in range(len(self.members))]
        logits = [member(tokens, segments, positions, types, key=key) for member, key in zip(self.members, keys, strict=True)]
        return jnp.stack(logits)
