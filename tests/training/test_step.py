import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from transformer.config import schema
from transformer.data.tokenization import SpecialTokens
from transformer.model.build import build_classifier
from transformer.training.objectives.classification import ClassificationObjective
from transformer.training.step import Variation, initial_state, make_train_step

SPECIAL = SpecialTokens(padding=0, unknown=1, first=2, separator=3, mask=4)
ROWS, LENGTH, CLASSES = 8, 6, 3
BATCH = {
    "tokens": np.random.default_rng(0).integers(5, 20, (ROWS, LENGTH)).astype(np.int32),
    "segments": np.ones((ROWS, LENGTH), np.int32),
    "positions": np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1)),
    "labels": (np.arange(ROWS) % CLASSES).astype(np.int32),
    "weights": np.ones(ROWS, np.float32),
}


def make(dropout=0.0, optimizer=None, objective=None, seed=0, learning_rate=0.1, **settings):
    model = build_classifier(
        schema.Transformer(width=8, heads=2, layers=1, feed_forward=16, dropout=dropout),
        vocabulary_size=20,
        classes=CLASSES,
        maximum_length=LENGTH,
        pairs=False,
        key=jax.random.key(0),
    )
    graph, parameters = nnx.split(model)
    optimizer = optimizer or optax.sgd(1.0)
    settings = {"mean_weight": float(ROWS), **settings}
    step = make_train_step(graph, ClassificationObjective(objective or schema.Classification(), SPECIAL), optimizer, **settings)
    variation = Variation(jax.random.key(seed), jnp.float32(learning_rate))
    state = initial_state(parameters, optimizer, settings.get("average_decay", 0.0) > 0)
    return jax.jit(lambda state, batch: step(state, batch, variation)), state


def largest_difference(one, other):
    return max(float(jnp.abs(a - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_accumulation_gives_the_whole_batchs_gradient():
    whole, state = make()
    pieces, _ = make(accumulation=4)
    (a, one), (b, other) = whole(state, BATCH), pieces(state, BATCH)
    assert largest_difference(a.parameters, b.parameters) < 1e-6
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-6)
    assert largest_difference(a.parameters, state.parameters) > 1e-4


def test_filler_rows_change_nothing():
    step, state = make()
    filled = {name: np.concatenate([rows, np.zeros_like(rows)]) for name, rows in BATCH.items()}
    a, one = step(state, BATCH)
    b, other = step(state, filled)
    assert largest_difference(a.parameters, b.parameters) < 1e-6
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-6)


def test_randomness_follows_from_seed_and_step_alone():
    step, state = make(dropout=0.5, learning_rate=0.0)
    other_seed, _ = make(dropout=0.5, learning_rate=0.0, seed=1)
    next_state, first = step(state, BATCH)
    assert step(state, BATCH)[1].loss == first.loss
    assert step(next_state, BATCH)[1].loss != first.loss  # same parameters, next step
    assert other_seed(state, BATCH)[1].loss != first.loss


def test_average_follows_its_recurrence():
    step, state = make(average_decay=0.9)
    parameters, average = state.parameters, state.average
    for count in range(3):
        state, _ = step(state, BATCH)
        decay = min(0.9, (1 + count) / (10 + count))
        average = jax.tree.map(lambda a, p, decay=decay: decay * a + (1 - decay) * p, average, state.parameters)
    assert largest_difference(state.average, average) < 1e-6
    assert largest_difference(state.average, parameters) > 1e-4
    assert state.evaluated is state.average


def test_a_loss_that_learns():
    step, state = make(optimizer=optax.adam(1.0), learning_rate=0.01)
    losses = []
    for _ in range(60):
        state, metrics = step(state, BATCH)
        losses.append(float(metrics.loss))
    assert losses[0] == pytest.approx(np.log(CLASSES), abs=0.1)
    assert losses[-1] < 0.1
