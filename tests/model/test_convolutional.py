"""The gated convolution against its equation, and how far it sees. What every encoder promises is in test_encoder.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.model.test_encoder import LENGTH, VOCABULARY, make, rows, weighted
from transformer.config import schema
from transformer.model.convolutional import GatedConvolution


def test_a_gated_convolution_is_its_papers_equation():
    width, kernel_size = 4, 3
    layer = GatedConvolution(width, kernel_size, rngs=nnx.Rngs(0))
    layer.taps.bias[...] = jax.random.normal(jax.random.key(1), (2 * width,))
    x = np.random.default_rng(0).normal(size=(2, LENGTH, width)).astype(np.float32)
    kernel, bias = (
        np.asarray(layer.taps.weight[...]).reshape(kernel_size, width, 2, width),
        np.asarray(layer.taps.bias[...]).reshape(2, width),
    )
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    linear, gate = (
        np.array([[sum(padded[row, t + tap] @ kernel[tap, :, part] for tap in range(3)) for t in range(LENGTH)] for row in range(2)])
        + bias[part]
        for part in range(2)
    )
    visible = jnp.ones((2, LENGTH, kernel_size), bool).at[:, 0, 0].set(False).at[:, -1, -1].set(False)
    np.testing.assert_allclose(layer(jnp.asarray(x), visible), linear / (1 + np.exp(-gate)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layers", "kernel_size", "reach"), [(1, 3, 1), (2, 3, 2), (2, 5, 4), (1, 1, 0)])
def test_a_state_depends_on_the_tokens_that_its_windows_reach(layers, kernel_size, reach):
    encoder = make("convolutional", layers=layers, kernel_size=kernel_size)
    batch = rows([list(range(LENGTH))])
    gradient = jax.jit(jax.grad(lambda encoder: weighted(encoder(*batch)[0, 6])))(encoder)
    by_token = np.abs(gradient.embedding.tokens[...]).sum(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(by_token), np.arange(6 - reach, 7 + reach))


def test_number_of_parameters():
    width, hidden, layers, kernel_size = 16, 12, 3, 5
    encoder = make("convolutional", layers=layers, hidden=hidden, kernel_size=kernel_size)
    layer = kernel_size * hidden * 2 * hidden + 2 * hidden + 2 * hidden
    assert sum(leaf.size for leaf in jax.tree.leaves(encoder)) == VOCABULARY * width + width * hidden + hidden + layers * layer + 2 * hidden


def test_an_even_window_is_refused_with_an_odd_one_to_type_instead():
    with pytest.raises(ValueError, match="kernel_size=5 is odd"):
        schema.Convolutional(kernel_size=4)
