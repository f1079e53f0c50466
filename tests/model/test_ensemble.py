"""Each member of an ensemble learns as if it were alone, and their probabilities are averaged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from transformer.config import schema
from transformer.data.tokenization import SpecialTokens
from transformer.model.build import build_ensemble
from transformer.training.learning_rates import learning_rate_shares
from transformer.training.objectives.classification import ClassificationObjective
from transformer.training.optimizer import build_optimizer
from transformer.training.prediction import make_predict_step
from transformer.training.step import initial_state

SPECIAL = SpecialTokens(padding=0, unknown=1, first=2, separator=3, mask=4)
SEGMENTS = (np.arange(6) < np.array([6, 4, 1, 0])[:, None]).astype(np.int32)
BATCH: dict = {
    "tokens": np.random.default_rng(0).integers(5, 20, (4, 6)).astype(np.int32) * SEGMENTS,
    "segments": SEGMENTS,
    "positions": np.tile(np.arange(6, dtype=np.int32), (4, 1)),
    "labels": np.array([0, 1, 2, 0], np.int32),
    "weights": np.array([1.0, 1.0, 1.0, 0.0], np.float32),
}


def ensemble(members=3, **changes):
    config = schema.Transformer(width=16, heads=2, feed_forward=32, layers=2, **changes)
    return build_ensemble(config, members=members, vocabulary_size=20, classes=3, maximum_length=6, pairs=False, key=jax.random.key(0))


def inputs():
    return {name: jnp.asarray(BATCH[name]) for name in ("tokens", "segments", "positions")}


def test_the_mean_of_the_members_probabilities_predicts():
    model = ensemble()
    probabilities = jax.jit(make_predict_step(nnx.graphdef(model)))(nnx.state(model), BATCH)
    each = np.stack([jax.nn.softmax(member(**inputs()), axis=-1) for member in model.members])
    assert np.abs(each[0] - each[1]).max() > 1e-4, "members begin alike"
    np.testing.assert_allclose(probabilities, each.mean(axis=0), atol=1e-6)


def test_members_learn_each_for_itself():
    model = ensemble(dropout=0.0)
    graph, parameters = nnx.split(model)
    objective = ClassificationObjective(schema.Classification(label_smoothing=0.1), SPECIAL)

    def loss(graph, parameters):
        batch = {name: jnp.asarray(array) for name, array in BATCH.items()}
        return objective.loss(nnx.merge(graph, parameters), batch, jax.random.key(0))[0]

    together, gradients = jax.jit(jax.value_and_grad(lambda parameters: loss(graph, parameters)))(parameters)
    alone = []
    for number, member in enumerate(model.members):
        member_graph, member_parameters = nnx.split(member)
        value, expected = jax.jit(jax.value_and_grad(lambda parameters, graph=member_graph: loss(graph, parameters)))(member_parameters)
        alone.append(value)
        jax.tree.map(
            lambda ours, theirs: np.testing.assert_allclose(3 * ours, theirs, atol=1e-6),
            nnx.to_pure_dict(gradients["members"][number]),
            nnx.to_pure_dict(expected),
        )
    assert together == pytest.approx(np.mean(alone))


def test_dropout_is_each_members_own():
    model = ensemble(members=2, dropout=0.5)
    first, second = model.members
    nnx.update(second, nnx.state(first))
    same = model(**inputs())
    np.testing.assert_array_equal(same[0], same[1])
    apart = model(**inputs(), key=jax.random.key(0))
    assert jnp.abs(apart[0] - apart[1])[:3].max() > 1e-4


@pytest.mark.parametrize("optimizer", [schema.AdamW, schema.Muon])
def test_the_optimizer_and_the_rates_are_those_of_a_model_alone(optimizer):
    def settings(model):
        config = schema.Config(
            name="test",
            data=schema.Data(source=schema.FilesSource(train=[schema.File(path="none")])),
            model=schema.Transformer(width=16, heads=2, feed_forward=32, layers=2),
            optimizer=optimizer(learning_rate=0.1, weight_decay=0.5, layer_decay=0.5, head_rate=3.0),
            training=schema.Training(gradient_clip=None),
        )
        parameters = nnx.state(model)
        shares = learning_rate_shares(config, parameters)
        built = build_optimizer(config, lambda _: 1.0, shares)
        state = initial_state(parameters, built, average=False)
        gradient = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), parameters)
        updates, _ = jax.jit(built.update)(gradient, state.optimizer, parameters)
        return nnx.to_pure_dict(updates), shares

    model = ensemble()
    updates, shares = settings(model)
    expected_updates, expected_shares = settings(model.members[1])
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6), updates["members"][1], expected_updates
    )
    assert jax.tree.leaves(shares["members"][1]) == jax.tree.leaves(expected_shares)
