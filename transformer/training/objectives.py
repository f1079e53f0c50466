"""What is learned: a function from a model and a batch to a loss. A further objective is a further function here."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from transformer.config import schema
from transformer.data.dataset import SpecialTokens

Batch = dict[str, Any]
Objective = Callable[[nnx.Module, Batch, Key[Array, ""]], Float[Array, ""]]
"""(model, batch, key) -> the loss summed over the batch's real examples."""


def model_inputs(batch: Batch) -> dict[str, Any]:
    """The entries of a batch that a model reads."""
    return {name: batch[name] for name in ("tokens", "segments", "positions", "types") if name in batch}


def classification_loss(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, "batch"],
    weights: Float[Array, "batch"],
    label_smoothing: float,
) -> Float[Array, ""]:
    """Cross-entropy in nats with label smoothing, summed over the rows by weight; filler rows have weight 0.

    -sum_c q_c log softmax(logits)_c with q = (1 - e) [c = label] + e / classes (Szegedy et al. 2016, section 7).
    """
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
    return jnp.sum(optax.softmax_cross_entropy(logits.astype(jnp.float32), targets) * weights)


def mask_tokens(tokens: Int[Array, "batch length"], special: SpecialTokens, rate: float, key: Key[Array, ""]) -> Int[Array, "batch length"]:
    """Replace each token that is not special by [MASK] with probability `rate`."""
    fixed = jnp.isin(tokens, jnp.array([special.padding, special.first, special.separator]))
    return jnp.where(jax.random.bernoulli(key, rate, tokens.shape) & ~fixed, special.mask, tokens)


def build_objective(config: schema.Classification, special: SpecialTokens) -> Objective:
    """The objective that the config asks for."""

    def objective(model: nnx.Module, batch: Batch, key: Key[Array, ""]) -> Float[Array, ""]:
        mask_key, dropout_key = jax.random.split(key)
        inputs = model_inputs(batch)
        if config.token_masking:
            inputs["tokens"] = mask_tokens(inputs["tokens"], special, config.token_masking, mask_key)
        logits = model(**inputs, key=dropout_key)
        return classification_loss(logits, batch["labels"], batch["weights"], config.label_smoothing)

    return objective
