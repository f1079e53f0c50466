"""The search engine: the ranking that comparing with everything gives, and the arithmetic of attention."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.model.attention import attention
from transformer.search.engine import QUERIES_AT_ONCE, SearchEngine

TEMPERATURE = 0.05


def unit_vectors(count, width, seed):
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def engine(keys, values, temperature=TEMPERATURE):
    return SearchEngine(keys, np.ascontiguousarray(values.T), temperature)


@given(st.sampled_from([1, 7, 300]), st.sampled_from([1, 3]), st.sampled_from([1, 10]), st.integers(0, 99))
def test_the_ranking_is_that_of_comparing_with_everything(documents, queries, top, seed):
    keys, asked = unit_vectors(documents, 16, seed), unit_vectors(queries, 16, seed + 100)
    answers = engine(keys, keys)(asked, top)
    cosines = asked.astype(np.float64) @ keys.T.astype(np.float64)
    order = np.argsort(-cosines, axis=1)[:, :top]
    assert answers.documents.shape == (queries, min(top, documents))
    np.testing.assert_array_equal(answers.documents, order)
    np.testing.assert_allclose(answers.cosines, np.take_along_axis(cosines, order, 1), atol=1e-6)


def test_the_weights_are_the_softmax_over_all_documents():
    keys, asked = unit_vectors(50, 8, 0), unit_vectors(4, 8, 1)
    answers = engine(keys, keys)(asked, 50)
    exponentials = np.exp(asked.astype(np.float64) @ keys.T / TEMPERATURE)
    weights = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers.weights, np.take_along_axis(weights, answers.documents, 1), rtol=1e-4)
    assert answers.weights.sum(axis=1) == pytest.approx(1, abs=1e-5)
    few = engine(keys, keys)(asked, 3)
    np.testing.assert_allclose(few.weights, answers.weights[:, :3], rtol=1e-6)


def test_the_sums_are_those_of_attention():
    keys, values, asked = (unit_vectors(count, 8, count) for count in (50, 51, 5))
    values = values[:50]
    expected = attention(jnp.asarray(asked) * math.sqrt(8) / TEMPERATURE, jnp.asarray(keys), jnp.asarray(values))
    np.testing.assert_allclose(engine(keys, values)(asked, 3).sums, expected, atol=1e-6)


def test_a_query_is_answered_alike_alone_and_among_others():
    """More queries than are answered together, and a last block that is not full."""
    keys, asked = unit_vectors(80, 8, 0), unit_vectors(2 * QUERIES_AT_ONCE + 5, 8, 1)
    search = engine(keys, keys[::-1])
    together = search(asked, 4)
    for row in (0, QUERIES_AT_ONCE, len(asked) - 1):
        alone = search(asked[row : row + 1], 4)
        np.testing.assert_array_equal(alone.documents[0], together.documents[row])
        np.testing.assert_allclose(alone.sums[0], together.sums[row], atol=1e-6)


def test_two_programs_answer_any_number_of_queries():
    search = engine(*2 * [unit_vectors(31, 8, 0)])
    before = search._attend._cache_size()
    for count in (1, 2, 7, 1, 40):
        search(unit_vectors(count, 8, count), 3)
    assert search._attend._cache_size() == before + 2


@pytest.mark.parametrize("count", [1, 3])
def test_the_nearest_text_to_a_text_is_that_text(count):
    values = unit_vectors(20, 8, 0)
    documents, cosines = engine(unit_vectors(20, 8, 1), values).nearest(0.3 * values[5 : 5 + count])
    assert documents.tolist() == list(range(5, 5 + count))
    assert cosines == pytest.approx(1, abs=1e-5)


def test_an_index_on_the_disk_is_not_copied(tmp_path):
    keys = unit_vectors(64, 16, 0)
    np.save(tmp_path / "keys.npy", keys)
    np.save(tmp_path / "columns.npy", np.ascontiguousarray(keys.T))
    mapped = [np.load(tmp_path / name, mmap_mode="r") for name in ("keys.npy", "columns.npy")]
    search = SearchEngine(*mapped, TEMPERATURE)
    if search.keys.device.platform != "cpu":
        pytest.skip("an accelerator has a memory of its own")
    assert [search.keys.unsafe_buffer_pointer(), search.columns.unsafe_buffer_pointer()] == [array.ctypes.data for array in mapped]
    assert search(keys[3:4], 1).documents.tolist() == [[3]]
