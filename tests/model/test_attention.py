"""The three steps of attention against their equations, and what a mask promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from transformer.model.attention import attention, attention_scores, attention_weights, segment_mask, weighted_sum
from transformer.model.multi_head_attention import MultiHeadAttention

lengths = st.integers(1, 9)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def plain_attention(query, key, value, mask):
    """Equation 1 of the paper, in NumPy and float64."""
    query, key, value = (np.asarray(array, np.float64) for array in (query, key, value))
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
    exponentials = np.where(mask, np.exp(scores - scores.max(axis=-1, keepdims=True)), 0.0)
    total = exponentials.sum(axis=-1, keepdims=True)
    return np.divide(exponentials, total, out=np.zeros_like(exponentials), where=total > 0) @ value


@settings(max_examples=15)  # each compiles
@given(
    leading=st.lists(st.integers(1, 3), max_size=2),
    queries=lengths,
    keys=lengths,
    head_dim=lengths,
    value_dim=lengths,
    seed=st.integers(0, 99),
)
def test_attention_is_equation_1_for_any_leading_axes(leading, queries, keys, head_dim, value_dim, seed):
    query, key = normal(seed, *leading, queries, head_dim), normal(seed + 1, *leading, keys, head_dim)
    value = normal(seed + 2, *leading, keys, value_dim)
    mask = jnp.asarray(np.random.default_rng(seed).random((*leading, queries, keys)) < 0.7)
    np.testing.assert_allclose(attention(query, key, value, mask), plain_attention(query, key, value, mask), rtol=1e-5, atol=1e-5)


def test_the_three_steps_make_attention():
    query, key, value = normal(0, 2, 3, 5, 4), normal(1, 2, 3, 7, 4), normal(2, 2, 3, 7, 6)
    scores = attention_scores(query, key)
    np.testing.assert_allclose(scores[1, 2, 3, 4], query[1, 2, 3] @ key[1, 2, 4] / 2, rtol=1e-5)
    weights = attention_weights(scores)
    np.testing.assert_allclose(weights, jax.nn.softmax(scores), rtol=1e-5)
    np.testing.assert_array_equal(weighted_sum(weights, value), attention(query, key, value))


def test_a_search_engine_in_one_line():
    titles, texts = jnp.eye(3) * 50, normal(0, 3, 4)
    np.testing.assert_allclose(attention(titles[1:2], titles, texts), texts[1:2], rtol=1e-5)


@pytest.mark.parametrize("offset", [-1e20, -1e4, 1e4, 1e20])
def test_weights_survive_any_offset_and_huge_hidden_scores(offset):
    scores = jnp.array([[1.0, 2.0, 3.0]]) + (offset if abs(offset) < 1e5 else 0.0)
    mask = jnp.array([[True, False, True]])
    expected = attention_weights(jnp.array([[1.0, 2.0, 3.0]]), mask)
    weights = attention_weights(scores.at[0, 1].set(offset), mask)
    np.testing.assert_allclose(weights, expected, rtol=2e-3 if abs(offset) < 1e5 else 1e-6)  # float32 keeps 1e4 + 1 to 1e-3
    gradient = jax.grad(lambda s: attention_weights(s, mask)[0, 0])(scores.at[0, 1].set(offset))
    assert np.isfinite(gradient).all()
    assert gradient[0, 1] == 0.0


def test_a_query_that_sees_no_key_gets_zero_and_gives_no_gradient():
    query, key, value = normal(0, 3, 4), normal(1, 5, 4), normal(2, 5, 4)
    mask = jnp.ones((3, 5), bool).at[1].set(False)
    result, gradients = jax.value_and_grad(lambda *arrays: jnp.square(attention(*arrays, mask)).sum(), argnums=(0, 1, 2))(query, key, value)
    assert (attention(query, key, value, mask)[1] == 0).all()
    assert np.isfinite(result)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert (gradients[0][1] == 0).all()
    assert (gradients[0][0] != 0).all()


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_by_finite_differences(masked):
    query, key, value = normal(0, 2, 3, 4), normal(1, 2, 5, 4), normal(2, 2, 5, 3)
    mask = jnp.array(np.random.default_rng(3).random((2, 3, 5)) < 0.6) if masked else None
    check_grads(
        lambda *arrays: attention(*map(jnp.asarray, arrays), mask), (query, key, value), order=1, modes=["rev"], rtol=2e-2, atol=2e-2
    )


def test_gradients_are_those_of_the_plain_formula():
    query, key, value = normal(0, 2, 2, 16, 8), normal(1, 2, 2, 24, 8), normal(2, 2, 2, 24, 8)
    mask = jnp.array(np.random.default_rng(3).random((2, 1, 16, 24)) < 0.6)

    def plain(query, key, value):
        scores = jnp.where(mask, jnp.einsum("bhqd,bhkd->bhqk", query, key) / jnp.sqrt(8.0), -1e9)
        return jnp.sin(jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores), value)).sum()

    def ours(query, key, value):
        return jnp.sin(attention(query, key, value, mask)).sum()

    gradients = (jax.jit(jax.grad(function, (0, 1, 2)))(query, key, value) for function in (ours, plain))
    for ours_gradient, plain_gradient in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours_gradient, plain_gradient, rtol=1e-4, atol=2e-6)


def test_bfloat16_products_are_close_and_differ():
    query, key, value = normal(0, 2, 16, 8), normal(1, 2, 16, 8), normal(2, 2, 16, 8)
    exact, rounded = attention(query, key, value), attention(query, key, value, dtype=jnp.bfloat16)
    assert rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded, exact, atol=0.03)
    assert (rounded != exact).any()


def test_dropped_weights_are_zero_and_the_others_grow():
    key, value = normal(1, 64, 8), jnp.eye(64)  # with these values, the result is the weights
    arguments = (normal(0, 64, 8), key, value)
    weights, dropped = attention(*arguments), attention(*arguments, dropout_rate=0.25, dropout_key=jax.random.key(0))
    kept = np.asarray(dropped) != 0
    np.testing.assert_allclose(np.asarray(dropped)[kept], (np.asarray(weights) / 0.75)[kept], rtol=1e-5)
    assert 0.72 < kept.mean() < 0.78


def test_segments_see_themselves_and_padding_sees_nothing():
    mask = segment_mask(jnp.array([[1, 1, 2, 0]]), jnp.array([[1, 1, 2, 0]]))
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(mask[0], np.array(expected, bool))


def test_each_head_attends_with_its_own_part_of_the_projections():
    width, heads = 12, 3
    layer = MultiHeadAttention(width, heads, rngs=nnx.Rngs(0))
    x = normal(0, 2, 5, width)
    mask = jnp.ones((2, 5, 5), bool).at[:, :, 4].set(False)
    positions = jnp.tile(jnp.arange(5), (2, 1))
    attended = []
    for head in range(heads):
        part = slice(4 * head, 4 * head + 4)
        projected = (x @ np.asarray(p.weight[...])[:, part] + np.asarray(p.bias[...])[part] for p in (layer.query, layer.key, layer.value))
        attended.append(plain_attention(*projected, np.asarray(mask)))
    expected = np.concatenate(attended, axis=-1) @ np.asarray(layer.output.weight[...]) + np.asarray(layer.output.bias[...])
    np.testing.assert_allclose(layer(x, mask, positions), expected, rtol=1e-4, atol=1e-5)
