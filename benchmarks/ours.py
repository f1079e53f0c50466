"""This project's competitors: its own model and training step, set up as `train.py` sets them up."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.work import CLASSES, LEARNING_RATE, WEIGHT_DECAY, Batch, Competitor, load_batches
from transformer.config import schema
from transformer.data.tokenization import SpecialTokens
from transformer.model.build import build_classifier
from transformer.training.devices import core_mesh, make_cores_devices, replicate, split_rows
from transformer.training.objectives.classification import ClassificationObjective
from transformer.training.step import Variation, initial_state, make_train_step


def transformer(
    *,
    width: int,
    layers: int,
    heads: int,
    feed_forward: int,
    dropout: float,
    vocabulary: int,
    length: int,
    precision: schema.Precision,
    work: dict[str, Any],
) -> Competitor:
    """The Transformer as the peers have it: post-norm, learned positions, dropout on attention weights too."""
    model = schema.Transformer(
        width=width,
        layers=layers,
        heads=heads,
        feed_forward=feed_forward,
        dropout=dropout,
        attention_dropout=dropout,
        norm_position="post",
        positions="learned",
        embedding_norm=True,
        precision=precision,
    )
    return competitor(model, vocabulary, length, work)


def lstm(*, width: int, layers: int, vocabulary: int, length: int, work: dict[str, Any]) -> Competitor:
    """The LSTM."""
    return competitor(schema.Recurrent(kind="lstm", width=width, hidden=width, layers=layers, dropout=0.0), vocabulary, length, work)


def competitor(model: schema.Model, vocabulary: int, length: int, work: dict[str, Any]) -> Competitor:
    """Training of a classifier with that encoder."""
    make_cores_devices()
    batches = load_batches(work)
    mesh = core_mesh(math.gcd(*(len(batch.tokens) for batch in batches)), stepped=model.stepped)
    built: nnx.Module = build_classifier(
        model, vocabulary_size=vocabulary, classes=CLASSES, maximum_length=length, pairs=False, key=jax.random.key(0)
    )
    graph, parameters = nnx.split(built)
    optimizer = optax.adamw(1.0, weight_decay=WEIGHT_DECAY)
    examples = sum(batch.mask.any(axis=1).sum() for batch in batches) / len(batches)
    objective = ClassificationObjective(schema.Classification(), SpecialTokens(padding=0, unknown=1, first=2, separator=3, mask=4))
    step = jax.jit(make_train_step(graph, objective, optimizer, mean_weight=float(examples)), donate_argnums=0)
    variation = replicate(Variation(jax.random.key(0), jnp.float32(LEARNING_RATE)), mesh)
    state = replicate(initial_state(parameters, optimizer, average=False), mesh)
    count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    arrays = [split_rows(_model_batch(batch), mesh) for batch in batches]

    def run(passes: int) -> float:
        nonlocal state
        loss = jnp.float32(0.0)
        with jax.set_mesh(mesh):
            for _ in range(passes):
                for batch in arrays:
                    before = loss
                    state, metrics = step(state, batch, variation)
                    loss = metrics.loss
                    # One step ahead, as in training: more than 32 that are split among a processor's cores block XLA for good.
                    jax.block_until_ready(before)
        return float(loss)

    return Competitor(run, count, batches)


def _model_batch(batch: Batch) -> dict[str, np.ndarray]:
    return {
        "tokens": batch.tokens,
        "segments": batch.mask.astype(np.int32),
        "positions": batch.mask.cumsum(axis=1, dtype=np.int32) - batch.mask,
        "labels": batch.labels,
        "weights": batch.mask.any(axis=1).astype(np.float32),
    }
