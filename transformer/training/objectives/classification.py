"""Predict a text's label."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from transformer.config import schema
from transformer.data.batching import Shapes
from transformer.data.dataset import Dataset
from transformer.data.tokenization import SpecialTokens, Split
from transformer.training.metrics import scores
from transformer.training.objective import DeviceBatch, Objective, Parameters, Scores, model_inputs
from transformer.training.prediction import Predictor, make_predict_step


def classification_loss(
    logits: Float[Array, "*members batch classes"],
    labels: Int[Array, "batch"],
    weights: Float[Array, "batch"],
    label_smoothing: float,
) -> Float[Array, ""]:
    """Cross-entropy in nats with label smoothing, summed over the rows by weight; filler rows have weight 0. The mean over an ensemble.

    -sum_c q_c log softmax(logits)_c with q = (1 - e) [c = label] + e / classes (Szegedy et al. 2016, section 7).
    """
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
    return jnp.mean(jnp.sum(optax.softmax_cross_entropy(logits.astype(jnp.float32), targets) * weights, axis=-1))


def mask_tokens(tokens: Int[Array, "batch length"], special: SpecialTokens, rate: float, key: Key[Array, ""]) -> Int[Array, "batch length"]:
    """Replace each token that is not special by [MASK] with probability `rate`."""
    fixed = jnp.isin(tokens, jnp.array([special.padding, special.first, special.separator]))
    return jnp.where(jax.random.bernoulli(key, rate, tokens.shape) & ~fixed, special.mask, tokens)


class ClassificationObjective(Objective):
    """Cross-entropy over the classes."""

    def __init__(self, settings: schema.Classification, special: SpecialTokens) -> None:
        self._settings, self._special = settings, special

    def loss(self, model: nnx.Module, batch: DeviceBatch, key: Key[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """See `classification_loss`."""
        mask_key, dropout_key = jax.random.split(key)
        inputs = model_inputs(batch)
        if self._settings.token_masking:
            inputs["tokens"] = mask_tokens(inputs["tokens"], self._special, self._settings.token_masking, mask_key)
        classifier: Any = model
        logits = classifier(**inputs, key=dropout_key)
        loss = classification_loss(logits, batch["labels"], batch["weights"], self._settings.label_smoothing)
        return loss, jnp.sum(batch["weights"])

    def evaluator(
        self, config: schema.Config, dataset: Dataset, shapes: Shapes, graph: nnx.GraphDef[nnx.Module], mesh: Mesh
    ) -> "ClassificationEvaluator":
        """Predict, then score."""
        return ClassificationEvaluator(Predictor(make_predict_step(graph), self._special, shapes, mesh))


class ClassificationEvaluator:
    """Scores class probabilities."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def compile(self, parameters: Parameters, splits: Collection[Split]) -> None:
        """Compile for every shape."""
        self.predictor.compile(parameters, splits)

    def __call__(self, parameters: Parameters, split: Split) -> Scores:
        """See `scores`."""
        return scores(self.predictor(parameters, split), split.labels)
