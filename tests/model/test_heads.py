"""Hidden layers and the head that tells tokens are their papers' equations, and compute what is asked for only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from transformer.config import schema
from transformer.model.build import build_classifier, build_masked_language_model
from transformer.model.heads import HiddenLayer

VOCABULARY, WIDTH, LENGTH = 30, 16, 10


def config(**changes):
    return schema.Transformer(**({"width": WIDTH, "heads": 2, "feed_forward": 32, "layers": 1, "dropout": 0.5} | changes))


def language_model(**changes):
    return build_masked_language_model(
        config(**changes), vocabulary_size=VOCABULARY, maximum_length=LENGTH, pairs=False, key=jax.random.key(0)
    )


@jax.jit
def compute(model, *arguments, **options):
    return model(*arguments, **options)


def batch():
    tokens = np.random.default_rng(0).integers(1, VOCABULARY, (3, LENGTH)).astype(np.int32)
    segments = (np.arange(LENGTH) < np.array([10, 7, 0])[:, None]).astype(np.int32)
    return jnp.asarray(tokens), jnp.asarray(segments), jnp.tile(jnp.arange(LENGTH), (3, 1))


def normalized(x, epsilon=1e-6):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)


def gelu(x):
    return np.asarray(jax.nn.gelu(x, approximate=False))


@pytest.mark.parametrize(
    ("kind", "equation"),
    [("tanh", np.tanh), ("relu", lambda x: np.maximum(x, 0)), ("gelu_norm", lambda x: normalized(gelu(x), 1e-3))],
)
def test_a_hidden_layer_is_its_papers_equation(kind, equation):
    layer = HiddenLayer(kind, 2 * WIDTH, config(norm_epsilon=1e-3), rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(4, 2 * WIDTH)).astype(np.float32)
    bias = 0.0
    if layer.dense.bias is not None:
        layer.dense.bias[...] = jnp.arange(WIDTH) / 10
        bias = np.arange(WIDTH) / 10
    np.testing.assert_allclose(layer(jnp.asarray(x)), equation(x @ np.asarray(layer.dense.weight[...]) + bias), atol=1e-5)
    assert (layer.dense.bias is None) == (kind == "gelu_norm")


def test_a_classifiers_head_follows_its_hidden_layer():
    shape = {"vocabulary_size": VOCABULARY, "classes": 3, "maximum_length": LENGTH, "pairs": False, "key": jax.random.key(0)}
    model = build_classifier(config(head="tanh", pooling=["first", "mean"]), **shape)
    tokens, segments, positions = batch()
    states = np.asarray(compute(model.encoder, tokens, segments, positions))[:2]
    real = np.asarray(segments)[:2, :, None]
    pooled = np.concatenate([states[:, 0], (states * real).sum(axis=1) / real.sum(axis=1)], axis=-1)
    hidden = np.tanh(pooled @ np.asarray(model.hidden.dense.weight[...]))
    np.testing.assert_allclose(compute(model, tokens, segments, positions)[:2], hidden @ np.asarray(model.head.weight[...]), atol=1e-5)
    assert build_classifier(config(), **shape).hidden is None


def test_logits_of_tokens_are_products_with_their_embeddings():
    model = language_model()
    model.head.bias[...] = jnp.arange(VOCABULARY) / 10
    states = np.random.default_rng(0).normal(size=(2, 3, WIDTH)).astype(np.float32)
    table = np.asarray(model.encoder.embedding.tokens[...])
    hidden = normalized(gelu(states @ np.asarray(model.head.dense.weight[...])))
    logits = model.head(jnp.asarray(states), jnp.asarray(table))
    np.testing.assert_allclose(logits, hidden @ table.T + np.arange(VOCABULARY) / 10, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_logits_are_those_of_the_selected_columns(precision):
    model = language_model(precision=precision)
    every = jnp.tile(jnp.arange(LENGTH), (3, 1))
    selected = jnp.asarray([[2, 9, 2], [0, 6, 3], [0, 0, 0]])
    whole, chosen = (np.asarray(compute(model, *batch(), selected=columns)) for columns in (every, selected))
    assert chosen.dtype == np.float32
    for row in range(3):
        np.testing.assert_allclose(chosen[row], whole[row, np.asarray(selected[row])], atol=1e-5)


def test_what_is_learned_reaches_the_one_table_of_embeddings_from_both_ends():
    model = language_model(dropout=0.0)
    tokens, segments, positions = batch()
    tokens = jnp.clip(tokens, 1, 20)

    def loss(model):
        return compute(model, tokens, segments, positions, selected=jnp.zeros((3, 1), int))[0, 0, 25]

    gradient = np.abs(np.asarray(jax.grad(loss)(model).encoder.embedding.tokens[...])).sum(axis=1)
    assert gradient[25] > 0  # the token asked for, which stands in no text
    assert (gradient[np.unique(tokens[0])] > 0).all()
    assert (gradient[21:25] == 0).all()
    assert sum(leaf.shape == (VOCABULARY, WIDTH) for leaf in jax.tree.leaves(nnx.state(model))) == 1


def test_dropout_is_active_exactly_when_a_key_is_given():
    model, selected = language_model(), jnp.asarray([[2], [0], [0]])
    without, first, again = (compute(model, *batch(), selected=selected, key=key) for key in (None, jax.random.key(1), jax.random.key(1)))
    np.testing.assert_array_equal(first, again)
    assert (first[:2] != without[:2]).any()
