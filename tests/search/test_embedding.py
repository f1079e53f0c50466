"""Texts as vectors: a text's vector is its own affair, whatever stands beside it and however long that is."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.search.conftest import MODELS, WORDS, small_embedder
from transformer.search.embedding import _lengths

TEXTS = ["wheat", "crude oil price", " ".join(WORDS), "gold " * 200, "", "bank rate"]


@pytest.mark.parametrize("kind", MODELS)
def test_a_vector_depends_on_no_other_text(kind):
    embedder = small_embedder(kind)
    together = embedder(TEXTS * 20)
    assert together.shape == (120, embedder.width)
    assert embedder([]).shape == (0, embedder.width)
    for row in (0, 2, 4):
        np.testing.assert_allclose(embedder(TEXTS[row : row + 1])[0], together[row], atol=1e-5)


@settings(max_examples=10)
@given(st.lists(st.text(max_size=40), max_size=9))
def test_vectors_have_length_1(embedder, texts):
    assert np.linalg.norm(embedder(texts), axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)


def test_a_vector_is_the_mean_over_the_texts_tokens_at_length_1(embedder):
    """Reckoned without padding."""
    ids = jnp.array([embedder._tokenizer.encode("crude oil price").ids], jnp.int32)
    model = nnx.merge(embedder._graph, embedder._parameters)
    mean = np.asarray(model.encoder(ids, jnp.ones_like(ids), jnp.arange(ids.shape[1])[None]))[0].mean(axis=0)
    np.testing.assert_allclose(embedder(["crude oil price"])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_the_identity_tells_models_apart_and_nothing_else(embedder):
    assert small_embedder().identity == embedder.identity
    assert small_embedder(seed=1).identity != embedder.identity
    assert small_embedder("lstm").identity != embedder.identity


@pytest.mark.parametrize("maximum", [4, 8, 100, 512])
def test_padding_is_at_most_a_third_of_a_longer_text(maximum):
    lengths = _lengths(maximum)
    assert lengths[-1] == maximum
    assert all(0 < longer - length <= longer / 2 for length, longer in itertools.pairwise(lengths))
