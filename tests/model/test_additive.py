"""Additive attention against its papers' equations, as pooling and from each token to all of its text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from transformer.model.additive import AdditiveAttention, AttentionPooling, IntraAttention, final_state
from transformer.model.attention import additive_scores, weighted_sum

WIDTH, LENGTH = 6, 21  # a length that no block of queries divides


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def uneven(module):
    """With the biases and the vector of zeros that it starts with, additive attention is the mean."""
    attention = module.attention
    attention.vector[...] = 3 * normal(0, WIDTH)
    attention.key.bias[...] = normal(1, WIDTH)
    return module


def equation(attention, query, states, mask):
    """softmax(vᵀ tanh(W s + U h + b)), a pair at a time and in float64."""
    weights = np.zeros(mask.shape)
    key_weight, bias, vector = (np.asarray(p[...], np.float64) for p in (attention.key.weight, attention.key.bias, attention.vector))
    query_weight = np.zeros_like(key_weight) if attention.query_weight is None else np.asarray(attention.query_weight[...], np.float64)
    for row, i in np.ndindex(*mask.shape[:2]):
        seen = np.flatnonzero(mask[row, i])
        scores = [vector @ np.tanh(query[row, i] @ query_weight + states[row, j] @ key_weight + bias) for j in seen]
        weights[row, i, seen] = np.exp(scores) / np.exp(scores).sum()
    return weights


SEGMENTS = jnp.array([[0] * 2 + [1] * 5 + [2] * 9 + [0] * 5, [4] * LENGTH, [0] * LENGTH])
STATES = normal(5, 3, LENGTH, WIDTH)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_additive_scores_are_bahdanaus_for_any_leading_axes(leading):
    query, key, vector = normal(0, *leading, 3, 4), normal(1, *leading, 5, 4), normal(2, 4)
    scores = additive_scores(query, key, vector)
    assert scores.shape == (*leading, 3, 5)
    for index in np.ndindex(*leading):
        for i, j in np.ndindex(3, 5):
            np.testing.assert_allclose(scores[(*index, i, j)], vector @ np.tanh(query[(*index, i)] + key[(*index, j)]), rtol=1e-5)


def test_gradients_of_additive_scores_are_those_of_the_equation():
    arguments = normal(0, 2, 3, 4), normal(1, 2, 5, 4), normal(2, 4)

    def plain(query, key, vector):
        return jnp.einsum("bqkh,h->bqk", jnp.tanh(query[:, :, None] + key[:, None]), vector)

    ours, expected = (
        jax.jit(jax.grad(lambda *arguments: jnp.sin(scores(*arguments)).sum(), (0, 1, 2)))(*arguments)  # noqa: B023
        for scores in (additive_scores, plain)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, expected)


@pytest.mark.parametrize("by_final_state", [False, True])
def test_pooling_averages_the_states_by_the_equations_weights(by_final_state):
    segments = jnp.array([[0] * 2 + [1] * 14 + [0] * 5, [4] * LENGTH, [0] * LENGTH])
    pooling = uneven(AttentionPooling(WIDTH, final_state=by_final_state, rngs=nnx.Rngs(0)))
    query = np.stack([STATES[0, 15], STATES[1, -1], STATES[2, 0]])[:, None]
    expected = equation(pooling.attention, query, STATES, (segments != 0)[:, None])
    np.testing.assert_allclose(pooling.weights(STATES, segments), expected[:, 0], atol=1e-5)
    np.testing.assert_allclose(pooling(STATES, segments), (expected @ STATES)[:, 0], atol=1e-5)
    assert expected[1].max() > 2 / LENGTH


def test_pooling_starts_as_the_mean():
    pooling = AttentionPooling(WIDTH, final_state=True, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(pooling(STATES[:1], SEGMENTS[:1]), STATES[:1, 2:16].mean(axis=1), atol=1e-6)


def test_final_states_are_the_last_of_what_reads_forward_and_the_first_of_what_reads_backward():
    states, segments = normal(0, 2, 5, 4), jnp.array([[1, 1, 1, 0, 0], [0, 2, 2, 2, 2]])
    both = final_state(states, segments, 2)
    np.testing.assert_array_equal(both[:, :2], [states[0, 2, :2], states[1, 4, :2]])
    np.testing.assert_array_equal(both[:, 2:], [states[0, 0, 2:], states[1, 1, 2:]])


def test_intra_attention_is_its_papers_equations():
    module = uneven(IntraAttention(WIDTH, rngs=nnx.Rngs(0)))
    mask = (SEGMENTS[:, :, None] == SEGMENTS[:, None]) & (SEGMENTS != 0)[:, None]
    weights = equation(module.attention, STATES, STATES, mask)
    merged = np.concatenate([weights @ STATES, STATES], axis=-1) @ np.asarray(module.output.weight[...])
    np.testing.assert_allclose(module.weights(STATES, SEGMENTS), weights, atol=1e-5)
    np.testing.assert_allclose(module(STATES, SEGMENTS), np.tanh(merged), atol=1e-5)


def test_gradients_of_intra_attention_are_those_of_all_pairs_at_once():
    definition, state = nnx.split(uneven(IntraAttention(WIDTH, rngs=nnx.Rngs(0))))

    def all_pairs(module, states):
        context = weighted_sum(module.weights(states, SEGMENTS), states)
        return jnp.tanh(module.output(jnp.concatenate([context, states], axis=-1)))

    ours, expected = (
        jax.jit(jax.grad(lambda state, states: jnp.sin(3 * function(nnx.merge(definition, state), states)).sum(), (0, 1)))(state, STATES)  # noqa: B023
        for function in (lambda module, states: module(states, SEGMENTS), all_pairs)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, expected)


def test_intra_attention_never_holds_all_pairs_times_the_width():
    length, width = 512, 32
    definition, state = nnx.split(IntraAttention(width, rngs=nnx.Rngs(0)))
    states, segments = jnp.zeros((1, length, width)), jnp.ones((1, length), jnp.int32)
    gradient = jax.jit(jax.grad(lambda state, states: nnx.merge(definition, state)(states, segments).sum(), (0, 1)))
    memory = gradient.lower(state, states).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 4 * length * length * width / 4


def test_additive_attention_has_the_papers_parameters():
    for learned, matrices in ((False, 2), (True, 1)):
        attention = AdditiveAttention(WIDTH, learned_query=learned, rngs=nnx.Rngs(0))
        assert sum(leaf.size for leaf in jax.tree.leaves(attention)) == matrices * WIDTH**2 + 2 * WIDTH
