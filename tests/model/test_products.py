"""The fast products, softmax and norms against the plain formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from transformer.config import schema
from transformer.model.build import build_classifier
from transformer.model.feed_forward import FeedForward, gelu, inner_width
from transformer.model.linear import Linear
from transformer.model.normalization import LayerNorm, RMSNorm
from transformer.model.products import product, product_with_transpose
from transformer.model.softmax import softmax

sizes = st.integers(1, 40)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def gradients(function, *arrays):
    """Those of a sum that weighs every element differently."""

    def weighted(*arrays):
        result = function(*arrays)
        return (result * jnp.cos(jnp.arange(result.size).reshape(result.shape))).sum()

    return jax.jit(jax.grad(weighted, argnums=tuple(range(len(arrays)))))(*arrays)


@settings(max_examples=6)  # each compiles twelve functions
@given(batch=st.lists(st.integers(1, 3), max_size=2), m=sizes, k=sizes, n=sizes)
def test_products_and_their_gradients_are_the_plain_ones(batch, m, k, n):
    a, b = normal(0, *batch, m, k), normal(1, *batch, k, n)
    for ours, other in ((product, b), (product_with_transpose, b.mT)):
        plain = jnp.matmul if ours is product else lambda a, b: a @ b.mT
        np.testing.assert_allclose(ours(a, other, jnp.float32), plain(a, other), rtol=1e-5, atol=1e-5)
        for got, expected in zip(gradients(lambda a, b, f=ours: f(a, b, jnp.float32), a, other), gradients(plain, a, other), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("function", [product, product_with_transpose])
def test_one_matrix_serves_all_rows_whatever_their_axes(function):
    x, matrix = normal(0, 3, 2, 5, 4), normal(1, 4, 4)
    flat = lambda x, matrix: function(x.reshape(-1, 4), matrix, jnp.float32).reshape(x.shape)  # noqa: E731
    shaped = lambda x, matrix: function(x, matrix, jnp.float32)  # noqa: E731
    np.testing.assert_allclose(shaped(x, matrix), flat(x, matrix), rtol=1e-6)
    for got, expected in zip(gradients(shaped, x, matrix), gradients(flat, x, matrix), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(256, 128, 512), (256, 512, 128), (512, 256, 256), (31, 17, 3), (1, 1, 1)])
def test_bfloat16_products_round_their_inputs_and_nothing_else(rows, inputs, outputs):
    x, weight = normal(0, rows, inputs), normal(1, inputs, outputs)

    def rounded(array):
        return np.asarray(array.astype(jnp.bfloat16), np.float64)

    def cosines(shape):
        return rounded(jnp.cos(jnp.arange(np.prod(shape)).reshape(shape)))

    result = jax.jit(lambda x, w: product(x, w, jnp.bfloat16))(x, weight)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, rounded(x) @ rounded(weight), rtol=1e-4, atol=1e-3)
    x_gradient, weight_gradient = gradients(lambda x, w: product(x, w, jnp.bfloat16), x, weight)
    np.testing.assert_allclose(x_gradient, cosines((rows, outputs)) @ rounded(weight).T, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(weight_gradient, rounded(x).T @ cosines((rows, outputs)), rtol=1e-4, atol=1e-3)


ODD_SHAPES = [(1, 1, 1), (1, 33, 1), (33, 1, 33), (1, 8, 33), (33, 8, 1), (2, 1, 3), (1, 3, 2), (17, 2, 3)]


@pytest.mark.parametrize("leading", [(), (3,), (1, 2)])
def test_the_cpu_refuses_no_bfloat16_product(leading):
    """Products of one row, one column, one inner element and odd sizes, with both gradients, compile and run: there is no need to fall back
    to float32. All in one program, because most of the time is that of compiling one."""
    operands = [(normal(0, *leading, m, k), normal(1, *leading, k, n)) for m, k, n in ODD_SHAPES]

    @jax.jit
    def products_and_gradients(operands):
        results = []
        for a, b in operands:
            for function, other in ((product, b), (product_with_transpose, b.mT)):
                result, pullback = jax.vjp(lambda a, b, function=function: function(a, b, jnp.bfloat16), a, other)
                results.append((result, *pullback(result)))
        return results

    def rounded(array):
        return np.asarray(jnp.asarray(array).astype(jnp.bfloat16), np.float64)

    results = iter(jax.device_get(products_and_gradients(operands)))
    for a, b in [(rounded(a), rounded(b)) for a, b in operands]:
        for transposed in (False, True):
            result, a_gradient, b_gradient = next(results)
            gradient = rounded(result)
            b_gradient = b_gradient.mT if transposed else b_gradient
            for got, expected in ((result, a @ b), (a_gradient, gradient @ b.mT), (b_gradient, a.mT @ gradient)):
                np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=f"{a.shape} {b.shape}")


SMALLEST = {"width": 2, "layers": 2, "dropout": 0.0, "precision": "bfloat16"}


@pytest.mark.parametrize(
    "config",
    [
        schema.Transformer(**SMALLEST, heads=2, feed_forward=1),
        schema.Transformer(**SMALLEST, heads=1, feed_forward=1, activation="swiglu", scan_layers=True, rematerialize=True),
        schema.Recurrent(**SMALLEST, kind="lstm", hidden=1, bidirectional=True, pooling=["final_state_attention"]),
        schema.Recurrent(**SMALLEST, kind="minlstm", hidden=1, intra_attention=True, pooling=["attention"]),
        schema.Convolutional(**SMALLEST, hidden=1),
    ],
    ids=["transformer", "scanned", "bilstm", "minlstm", "convolutional"],
)
def test_the_smallest_models_train_in_bfloat16_on_one_token(config):
    model = build_classifier(config, vocabulary_size=8, classes=2, maximum_length=4, pairs=False, key=jax.random.key(0))
    graph, parameters = nnx.split(model)
    one = jnp.ones((1, 1), jnp.int32)

    @jax.jit
    def loss_and_gradient(parameters):
        return jax.value_and_grad(lambda parameters: jax.nn.logsumexp(nnx.merge(graph, parameters)(one, one, one - 1)))(parameters)

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loss_and_gradient(parameters)))


def test_the_linear_layer_takes_any_leading_axes():
    layer = Linear(6, 4, rngs=nnx.Rngs(0))
    layer.bias[...] = normal(2, 4)
    for leading in ((), (3,), (2, 3)):
        x = normal(1, *leading, 6)
        np.testing.assert_allclose(layer(x), x @ layer.weight[...] + layer.bias[...], rtol=1e-5, atol=1e-6)


def test_linear_weights_are_drawn_by_glorot_and_bengio():
    weight = np.asarray(Linear(300, 100, rngs=nnx.Rngs(0)).weight[...])
    assert np.abs(weight).max() <= np.sqrt(6 / 400)
    np.testing.assert_allclose(weight.std(), np.sqrt(2 / 400), rtol=0.02)


def test_softmax_and_its_gradient_are_the_plain_ones():
    x = normal(0, 4, 3, 7) * 3
    mask = jnp.asarray(np.random.default_rng(1).random((4, 1, 7)) < 0.5).at[:, :, 0].set(True)

    def plain(x):
        return jax.nn.softmax(jnp.where(mask, x, -jnp.inf), axis=-1)

    np.testing.assert_allclose(softmax(x, mask, jnp.float32), plain(x), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gradients(lambda x: softmax(x, mask, jnp.float32), x)[0], gradients(plain, x)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_norms_are_their_equations(norm):
    layer = norm(8)
    layer.scale[...] = normal(1, 8)
    x = normal(0, 3, 5, 8) * 4 + 2
    exact = np.asarray(x, np.float64)
    if norm is LayerNorm:
        layer.bias[...] = normal(2, 8)
        expected = (exact - exact.mean(-1, keepdims=True)) / exact.std(-1, keepdims=True) * layer.scale[...] + layer.bias[...]
    else:
        expected = exact / np.sqrt((exact**2).mean(-1, keepdims=True)) * layer.scale[...]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)
    check_grads(lambda x: layer(jnp.asarray(x)), (x,), order=1, modes=["rev"], rtol=2e-2, atol=2e-2)


def test_norms_of_constant_and_huge_states_are_finite():
    for norm in (LayerNorm(4), RMSNorm(4)):
        for value in (0.0, 1.0, 1e15):
            x = jnp.full((2, 4), value)
            assert np.isfinite(norm(x)).all()
            assert np.isfinite(jax.grad(lambda x, norm=norm: norm(x).sum())(x)).all()


def test_the_exact_gelu_is_x_times_the_normal_distribution_function():
    x = jnp.linspace(-6, 6, 101)
    np.testing.assert_allclose(gelu(x), x * jax.scipy.stats.norm.cdf(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "geglu", "swiglu"])
def test_feed_forward_is_its_equation(activation):
    layer = FeedForward(6, 24, activation, rngs=nnx.Rngs(0))
    x = normal(0, 2, 3, 6)
    function = {"relu": jax.nn.relu, "gelu_tanh": jax.nn.gelu, "swiglu": jax.nn.silu}.get(
        activation, lambda x: jax.nn.gelu(x, approximate=False)
    )

    def plain(x):
        inner = x @ layer.inner.weight[...]
        return (function(inner) if layer.gate is None else function(x @ layer.gate.weight[...]) * inner) @ layer.output.weight[...]

    assert (layer.gate is not None) == (activation in ("geglu", "swiglu"))
    np.testing.assert_allclose(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients(layer, x)[0], gradients(plain, x)[0], rtol=1e-4, atol=1e-5)


@given(width=st.integers(16, 512), feed_forward=st.integers(64, 4096))
def test_a_gated_feed_forward_network_has_as_many_weights_as_one_without_a_gate(width, feed_forward):
    gated, plain = 3 * width * inner_width(feed_forward, "swiglu"), 2 * width * inner_width(feed_forward, "relu")
    assert abs(gated - plain) <= 3 * width * 4
