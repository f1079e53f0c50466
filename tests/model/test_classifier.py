"""Pooling never counts padding, and the classifier keeps every promise of its encoder on one device and on eight."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from transformer.config import schema
from transformer.model.build import build_classifier
from transformer.model.classifier import Classifier, pool
from transformer.model.encoder import Encoder
from transformer.model.inspection import capture_attention
from transformer.model.recurrent import RecurrentEncoder

POOLINGS = ["first", "mean", "max"]
EVERY_POOLING = [*POOLINGS, "attention", "final_state_attention"]


@jax.jit
def pooled(states, segments):
    return jnp.concatenate([pool(states, segments, kind) for kind in POOLINGS], axis=-1)


@given(lengths=st.lists(st.integers(0, 9), min_size=4, max_size=4), seed=st.integers(0, 99))
def test_pooling_is_over_real_tokens(lengths, seed):
    states = np.random.default_rng(seed).normal(size=(4, 9, 3)).astype(np.float32)
    segments = (np.arange(9) < np.array(lengths)[:, None]).astype(np.int32)
    result = pooled(states, segments)
    for row, count in enumerate(lengths):
        text = states[row, :count]
        expected = np.concatenate([text[0], text.mean(axis=0), text.max(axis=0)]) if count else np.zeros(9)
        np.testing.assert_allclose(result[row], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["attention", "final_state_attention"])
def test_a_pooling_with_parameters_is_no_function_of_states_alone(kind):
    with pytest.raises(ValueError, match="AttentionPooling"):
        pool(jnp.zeros((1, 2, 3)), jnp.ones((1, 2), int), kind)


def classifier(*, seed=0, **changes):
    config = schema.Transformer(width=16, heads=2, feed_forward=32, **changes)
    return build_classifier(config, vocabulary_size=40, classes=5, maximum_length=12, pairs=False, key=jax.random.key(seed))


def with_uneven_attention(model):
    """Additive attention starts as the mean, which would hide what it attends to."""
    for index, pooling in enumerate(model.attention_pooling.values()):
        pooling.attention.vector[...] = jax.random.normal(jax.random.key(index), pooling.attention.vector.shape)
    return model


@jax.jit
def logits(model, data, key=None):
    return model(*data, key=key)


def batch(lengths, length):
    tokens = np.random.default_rng(0).integers(1, 40, (len(lengths), 12)).astype(np.int32)[:, :length]
    segments = (np.arange(length) < np.array(lengths)[:, None]).astype(np.int32)
    return tuple(
        jnp.asarray(array) for array in (tokens * segments, segments, np.tile(np.arange(length, dtype=np.int32), (len(lengths), 1)))
    )


def test_padding_never_changes_a_logit():
    model = with_uneven_attention(classifier(pooling=EVERY_POOLING))
    np.testing.assert_allclose(logits(model, batch([7, 3], 7)), logits(model, batch([7, 3], 12)), atol=1e-6)


def test_rows_of_padding_give_no_gradient_and_stay_finite():
    model, real, filled = with_uneven_attention(classifier(pooling=EVERY_POOLING)), batch([7, 3], 7), batch([7, 3, 0], 7)

    @jax.jit
    def gradient(model, batch, weights):
        return jax.grad(lambda model: (jnp.square(model(*batch)).sum(axis=-1) * weights).sum())(model)

    without, with_filler = gradient(model, real, jnp.ones(2)), gradient(model, filled, jnp.array([1.0, 1.0, 0.0]))
    for a, b in zip(jax.tree.leaves(without), jax.tree.leaves(with_filler), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)


def test_the_first_loss_is_the_logarithm_of_the_number_of_classes():
    result = logits(classifier(), batch([12] * 16, 12))
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(-jax.nn.log_softmax(result)[:, 0].mean(), np.log(5), atol=0.05)


def test_dropout_is_active_exactly_when_a_key_is_given():
    model, data = classifier(dropout=0.5), batch([7, 3], 7)
    without, first, again = logits(model, data), logits(model, data, jax.random.key(1)), logits(model, data, jax.random.key(1))
    np.testing.assert_array_equal(first, again)
    assert (first != without).all()


@pytest.mark.parametrize(("intra_attention", "width"), [(False, 8), (True, 0)])
def test_columns_were_read_backward_where_one_direction_alone_made_them(intra_attention, width):
    """Intra-attention mixes both directions in every column: the final state then is that of the last token."""
    config = schema.Recurrent(width=8, hidden=8, bidirectional=True, intra_attention=intra_attention)
    model = build_classifier(config, vocabulary_size=40, classes=5, maximum_length=12, pairs=False, key=jax.random.key(0))
    assert model.encoder.reverse_width == width


def test_the_config_chooses_the_encoder():
    assert isinstance(classifier().encoder, Encoder)
    model = build_classifier(
        schema.Recurrent(width=8, hidden=8), vocabulary_size=40, classes=5, maximum_length=12, pairs=False, key=jax.random.key(0)
    )
    assert isinstance(model.encoder, RecurrentEncoder)
    assert logits(model, batch([7, 3], 7)).shape == (2, 5)


class WordVectors(nnx.Module):
    """The smallest encoder: it shows what a further one must have."""

    def __init__(self, width):
        self.vectors = nnx.Param(jnp.arange(40.0 * width).reshape(40, width))
        self.output_width = width
        self.reverse_width = 0

    def __call__(self, tokens, segments, positions, types=None, *, key=None):
        return self.vectors[...][tokens]

    def attention_weights(self, tokens, segments, positions, types=None):
        return None


def test_a_classifier_and_what_looks_into_it_take_any_encoder():
    model = Classifier(WordVectors(3), classes=5, pooling=["mean"], dropout_rate=0.0, rngs=nnx.Rngs(0))
    data = batch([7, 3], 7)
    assert capture_attention(model, *data) == {}
    means = [model.encoder.vectors[...][data[0][row, :count]].mean(axis=0) for row, count in enumerate([7, 3])]
    np.testing.assert_allclose(model(*data), model.head(jnp.stack(means)), rtol=1e-5)


def test_the_same_key_draws_the_same_parameters():
    same, other = (jax.tree.leaves(classifier(seed=seed)) for seed in (0, 1))
    again = jax.tree.leaves(classifier(seed=0))
    assert all((a == b).all() for a, b in zip(same, again, strict=True))
    assert any((a != b).any() for a, b in zip(same, other, strict=True))


ON_EIGHT_DEVICES = """
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from tests.model.test_classifier import batch, classifier
from transformer.training.devices import data_mesh

assert jax.device_count() == 8
mesh = data_mesh(8)
data = batch(range(1, 9), 12)
split = jax.device_put(data, NamedSharding(mesh, PartitionSpec("data")))
compute = jax.jit(lambda model, data: jax.value_and_grad(lambda model: (model(*data, key=jax.random.key(1)) ** 2).sum())(model))
for precision, tolerance in (("float32", 1e-6), ("bfloat16", 1e-3)):
    model = classifier(layers=1, dropout=0.1, attention_dropout=0.1, precision=precision)
    everywhere = jax.device_put(model, NamedSharding(mesh, PartitionSpec()))
    with jax.set_mesh(mesh):
        compiled = compute.lower(everywhere, split).compile()
    assert "all-gather" not in compiled.as_text()
    for one, eight in zip(jax.tree.leaves(compute(model, data)), jax.tree.leaves(compiled(everywhere, split)), strict=True):
        np.testing.assert_allclose(eight, one, atol=tolerance)
"""


def test_eight_devices_compute_what_one_does():
    # Dropout masks included, and without gathering anything but sums.
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    result = subprocess.run([sys.executable, "-c", ON_EIGHT_DEVICES], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
