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
    for kind in ("linear", "warmup_stable_decay"):
        assert rate(kind, STEPS, final_fraction=0.1) == pytest.approx(1 / 10)
    assert rate("warmup_stable_decay", STEPS - 50, decay_fraction=0.5) == pytest.approx(1)
    assert rate("warmup_stable_decay", STEPS - 25, decay_fraction=0.5) == pytest.approx(1 / 2)


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


def gradients_of(state, count):
    return [jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size + step), leaf.shape), state) for step in range(count)]  # noqa: B023


def updates_of(settings, clip, state, *gradients):
    """What the last of these gradients, coming one after the other, does to the parameters."""
    optimizer = build_optimizer(config(MODELS[0], optimizer=settings, clip=clip), optax.constant_schedule(1.0))
    memory = optimizer.init(state)
    for gradient in gradients:
        updates, memory = optimizer.update(gradient, memory, state)
    return updates


def assert_alike(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), one, other)


def test_adamw_is_its_papers_algorithm_with_the_numbers_of_the_config():
    """Loshchilov and Hutter 2019, algorithm 2, with an epsilon that counts."""
    state = parameters(MODELS[0])
    settings = schema.AdamW(beta1=0.7, beta2=0.9, epsilon=0.1, weight_decay=0.5)
    first = second = jax.tree.map(np.zeros_like, state)
    gradients = gradients_of(state, 3)
    for gradient in gradients:
        first = jax.tree.map(lambda m, g: 0.7 * m + 0.3 * g, first, gradient)
        second = jax.tree.map(lambda v, g: 0.9 * v + 0.1 * g**2, second, gradient)
    expected = jax.tree_util.tree_map_with_path(
        lambda path, m, v, w: -m / (1 - 0.7**3) / (np.sqrt(v / (1 - 0.9**3)) + 0.1) - 0.5 * decays(path) * w, first, second, state
    )
    assert_alike(updates_of(settings, None, state, *gradients), expected)


def test_muon_remembers_earlier_gradients_by_the_momentum_of_the_config():
    state = parameters(MODELS[0])
    earlier, now = gradients_of(state, 2)

    def matrices(momentum, *gradients):
        updates = updates_of(schema.Muon(momentum=momentum, weight_decay=0.0), None, state, *gradients)
        return [np.asarray(update) for path, update in jax.tree_util.tree_flatten_with_path(updates)[0] if is_encoder_matrix(path)]

    assert_alike(matrices(0.0, earlier, now), matrices(0.0, now))
    for remembered, alone in zip(matrices(0.9, earlier, now), matrices(0.9, now), strict=True):
        assert np.abs(remembered - alone).max() > 0.01


@pytest.mark.parametrize("optimizer", [schema.AdamW, schema.Muon])
def test_a_gradient_above_the_norm_of_the_config_is_cut_to_it_as_a_whole(optimizer):
    """With an epsilon above all gradients, AdamW's step tells how long its gradient is."""
    state = parameters(MODELS[0])
    (gradient,) = gradients_of(state, 1)
    settings, norm = optimizer(epsilon=10.0, weight_decay=0.0), float(optax.tree.norm(gradient))

    def step(clip, scale):
        return updates_of(settings, clip, state, jax.tree.map(lambda leaf: scale * leaf, gradient))

    assert_alike(step(0.5, 1.0), step(None, 0.5 / norm))
    assert_alike(step(0.5, 0.4 / norm), step(None, 0.4 / norm))
    assert float(optax.tree.norm(step(None, 1.0))) > 2 * float(optax.tree.norm(step(0.5, 1.0))) or optimizer is schema.Muon


def config(model, *, optimizer, clip=1.0):
    return schema.Config(
        name="test",
        data=schema.Data(source=schema.FilesSource(train=[schema.File(path="none")])),
        model=model,
        optimizer=optimizer,
        schedule=schema.Schedule(kind="constant"),
        training=schema.Training(gradient_clip=clip),
    )
