import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from transformer.config import schema
from transformer.model.build import build_classifier
from transformer.training.optimizer import build_optimizer, decays, is_encoder_matrix, learning_rate_schedule

STEPS, WARMUP = 100, 10


def rate(kind: str, step: int, **settings: float) -> float:
    return float(learning_rate_schedule(schema.Schedule(kind=kind, warmup_steps=WARMUP, **settings), STEPS)(step))


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "inverse_square_root", "warmup_stable_decay"])
def test_warm_up_rises_linearly_from_the_first_step(kind):
    assert [rate(kind, step) for step in range(WARMUP)] == pytest.approx([(step + 1) / WARMUP for step in range(WARMUP)])


def test_shapes_after_warm_up():
    middle = WARMUP + (STEPS - WARMUP) // 2
    assert rate("constant", STEPS) == 1
    assert rate("linear", middle) == pytest.approx(1 / 2)
    assert rate("cosine", middle) == pytest.approx(1 / 2)
    assert rate("cosine", STEPS, final_fraction=0.1) == pytest.approx(1 / 10)
    assert rate("inverse_square_root", WARMUP + 3 * WARMUP) == pytest.approx(1 / 2)
    assert rate("warmup_stable_decay", STEPS - 20) == pytest.approx(1)
    assert rate("warmup_stable_decay", STEPS - 10) == pytest.approx(1 / 2)
    assert rate("warmup_stable_decay", STEPS) == pytest.approx(0.0)


def parameters(model: schema.Transformer | schema.Recurrent) -> nnx.State:
    classifier = build_classifier(model, vocabulary_size=16, classes=3, maximum_length=8, pairs=True, key=jax.random.key(0))
    return nnx.state(classifier)


MODELS = [
    schema.Transformer(width=8, heads=2, layers=2, feed_forward=16),
    schema.Transformer(width=8, heads=2, layers=2, feed_forward=16, scan_layers=True, positions="learned"),
    schema.Recurrent(kind="lstm", width=8, hidden=8, layers=2, bidirectional=True),
    schema.Convolutional(width=8, hidden=8, layers=2),
]


@pytest.mark.parametrize("model", MODELS)
def test_exactly_the_weights_of_products_decay(model):
    state = parameters(model)
    optimizer = build_optimizer(config(model, optimizer=schema.AdamW(weight_decay=0.5)), optax.constant_schedule(1.0))
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, state), optimizer.init(state), state)
    stacked = isinstance(model, schema.Transformer) and model.scan_layers
    for (path, parameter), update in zip(jax.tree_util.tree_flatten_with_path(state)[0], jax.tree.leaves(updates), strict=True):
        name = jax.tree_util.keystr(path)
        a_matrix = parameter.ndim - (stacked and "layers" in name) >= 2 and "'embedding'" not in name
        assert decays(path) == a_matrix, name
        np.testing.assert_allclose(update, -0.5 * parameter if a_matrix else 0.0 * parameter, rtol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_muon_moves_the_encoders_matrices_by_a_step_of_even_spectrum(model):
    state = parameters(model)
    optimizer = build_optimizer(config(model, optimizer=schema.Muon(weight_decay=0.0), clip=None), optax.constant_schedule(1.0))
    gradient = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), state)
    updates, _ = optimizer.update(gradient, optimizer.init(state), state)
    matrices = 0
    for path, update in jax.tree_util.tree_flatten_with_path(updates)[0]:
        if is_encoder_matrix(path):
            matrices += 1
            singular = np.linalg.svd(np.asarray(update).reshape(-1, *update.shape[-2:]), compute_uv=False)
            assert (singular.max(-1) / singular.min(-1) < 3).all(), jax.tree_util.keystr(path)
        else:
            np.testing.assert_allclose(np.abs(update), 1.0, rtol=1e-3)  # Adam's first step is the sign
    assert matrices >= 2


def config(model, *, optimizer, clip=1.0):
    return schema.Config(
        name="test",
        data=schema.Data(source=schema.FilesSource(train=[schema.File(path="none")])),
        model=model,
        optimizer=optimizer,
        schedule=schema.Schedule(kind="constant"),
        training=schema.Training(gradient_clip=clip),
    )
