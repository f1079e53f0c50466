"""Attention in blocks: the numbers of attention at once, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer.model import attention_blocks
from transformer.model.attention import attention
from transformer.model.attention_blocks import attention_at_once, attention_in_blocks


@pytest.fixture(params=[1, 8, 30, 50, 200])  # one query has more scores; one query; a few, the last block not full; a head; heads or texts
def small_blocks(request, monkeypatch):
    monkeypatch.setattr(attention_blocks, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(attention_blocks, "BLOCK", request.param)


def inputs(texts=4, heads=3, queries=7, keys=7, width=5):
    random = np.random.default_rng(0)
    query, key, value, weight = (
        jnp.asarray(random.normal(size=(texts, heads, length, width)), jnp.float32) for length in (queries, keys, keys, queries)
    )
    mask = jnp.asarray(random.random((texts, queries, keys)) < 0.6).at[1].set(False)  # a text that is all padding
    return query, key, value, mask, weight


def with_gradients(attend, query, key, value, weight):
    def total(query, key, value):
        result = attend(query, key, value)
        return (result * weight).sum(), result

    gradients, result = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(query, key, value)
    return result, *gradients


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize(("texts", "heads"), [(4, 3), (1, 3), (1, 1), (5, 1)])
def test_results_gradients_and_dropout_are_those_of_attention_at_once(texts, heads, rate):
    query, key, value, mask, weight = inputs(texts=max(texts, 2), heads=heads)
    query, key, value, mask, weight = (x[:texts] for x in (query, key, value, mask, weight))
    dropout = {"dropout_rate": rate, "dropout_key": jax.random.key(5)}
    blocks = with_gradients(lambda q, k, v: attention_in_blocks(q, k, v, mask, **dropout), query, key, value, weight)
    at_once = with_gradients(lambda q, k, v: attention(q, k, v, mask[:, None], **dropout), query, key, value, weight)
    for mine, expected in zip(blocks, at_once, strict=True):
        assert np.isfinite(mine).all()
        np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=15, deadline=None)  # each compiles
@given(texts=st.integers(1, 4), heads=st.integers(1, 4), queries=st.integers(1, 9), keys=st.integers(1, 9), block=st.integers(1, 300))
def test_any_shape_and_any_block(texts, heads, queries, keys, block):
    query, key, value, mask, _ = inputs(max(texts, 2), heads, queries, keys)
    query, key, value, mask = (x[:texts] for x in (query, key, value, mask))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_blocks, "MOST_AT_ONCE", 0)
        patch.setattr(attention_blocks, "BLOCK", block)
        blocks = attention_in_blocks(query, key, value, mask)
    np.testing.assert_allclose(blocks, attention(query, key, value, mask[:, None]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("queries", "blocks"), [(99, 5), (100, 5), (101, 6)])
def test_a_prime_number_of_queries_is_cut_into_blocks_as_large(monkeypatch, queries, blocks):
    monkeypatch.setattr(attention_blocks, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(attention_blocks, "BLOCK", 20 * 7)
    query, key, value, mask, _ = (x[:1] for x in inputs(heads=1, queries=queries))
    loops = [
        equation for equation in jax.make_jaxpr(attention_in_blocks)(query, key, value, mask).eqns if equation.primitive.name == "scan"
    ]
    assert [loop.params["length"] for loop in loops] == [blocks]


def temporary_bytes(length):
    def total(query, key, value, mask):
        return attention_in_blocks(query, key, value, mask).sum()

    states = jax.ShapeDtypeStruct((1, 2, length, 8), jnp.float32)
    mask = jax.ShapeDtypeStruct((1, length, length), jnp.bool_)
    program = jax.jit(jax.grad(total, argnums=(0, 1, 2))).lower(states, states, states, mask).compile()
    return program.memory_analysis().temp_size_in_bytes


def test_a_training_step_keeps_no_scores():
    blocks = temporary_bytes(4096)
    with attention_at_once():
        at_once = temporary_bytes(4096)
    assert blocks < at_once / 8
