import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer.config import schema
from transformer.evaluation.metrics import scores
from transformer.model.encoder import Encoder
from transformer.model.sentence_embedder import SentenceEmbedder, unit
from transformer.training.loop import train
from transformer.training.objectives.contrastive import ContrastiveObjective, contrastive_loss


def vectors(seed, rows, width=4):
    return unit(jax.random.normal(jax.random.key(seed), (rows, width)))


def test_with_one_positive_it_is_the_cross_entropy_of_finding_it_among_the_batch():
    first, second = vectors(0, 6), vectors(1, 6)
    itself = jnp.eye(6, dtype=bool)
    losses, known = contrastive_loss(first, second, itself, jnp.ones_like(itself), 0.1)
    scores = np.asarray(first) @ np.asarray(second).T / 0.1
    expected = -np.log(np.exp(scores).diagonal() / np.exp(scores).sum(axis=1))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert known.all()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=8), st.integers(0, 100))
def test_the_supervised_loss_is_khosla_and_others_equation_2(labels, seed):
    x, labels = np.asarray(vectors(seed, len(labels))), np.array(labels)
    losses, known = contrastive_loss(
        jnp.asarray(x), jnp.asarray(x), jnp.asarray(labels[:, None] == labels), jnp.asarray(~np.eye(len(x), dtype=bool)), 0.2
    )
    for i in range(len(x)):
        others = [a for a in range(len(x)) if a != i]
        total = sum(np.exp(x[i] @ x[a] / 0.2) for a in others)
        positives = [p for p in others if labels[p] == labels[i]]
        assert bool(known[i]) == bool(positives)
        expected = -np.mean([np.log(np.exp(x[i] @ x[p] / 0.2) / total) for p in positives]) if positives else 0.0
        assert losses[i] == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.fixture(scope="module")
def embedder():
    config = schema.Transformer(width=8, heads=2, layers=1, feed_forward=16, dropout=0.0)
    return SentenceEmbedder(Encoder(config, vocabulary_size=30, maximum_length=12, pairs=True, rngs=nnx.Rngs(0)))


def pad(rows, length):
    result = np.zeros((len(rows), length), np.int32)
    for row, tokens in zip(result, rows, strict=True):
        row[: len(tokens)] = tokens
    return jnp.asarray(result)


def test_the_two_texts_of_a_pair_do_not_see_each_other(embedder):
    texts = [([5, 6, 7], [8, 9]), ([9, 9], [10, 11, 12, 13])]
    tokens = pad([[*first, *second] for first, second in texts], 8)
    types = pad([[0] * len(first) + [1] * len(second) for first, second in texts], 8)
    segments = (tokens != 0).astype(jnp.int32)
    positions = jnp.tile(jnp.arange(8), (2, 1)) * segments
    first, second = embedder.pairs(tokens, segments, positions, types)
    for found, alone in ((first, [pair[0] for pair in texts]), (second, [pair[1] for pair in texts])):
        rows = pad(alone, 6)
        there = (rows != 0).astype(jnp.int32)
        np.testing.assert_allclose(found, embedder(rows, there, jnp.tile(jnp.arange(6), (2, 1)) * there), atol=1e-5)


def test_a_batch_without_positives_and_rows_that_fill_it_have_finite_loss_and_gradient_of_zero(embedder):
    graph, parameters = nnx.split(embedder)
    tokens = pad([[5, 6], [7, 8], []], 4)
    batch = {
        "tokens": tokens,
        "segments": (tokens != 0).astype(jnp.int32),
        "positions": jnp.tile(jnp.arange(4), (3, 1)),
        "labels": jnp.array([0, 1, 0]),
        "weights": jnp.array([1.0, 1.0, 0.0]),
    }
    objective = ContrastiveObjective(schema.Contrastive())

    def loss(parameters):
        return objective.loss(nnx.merge(graph, parameters), batch, jax.random.key(0))

    (value, weight), gradient = jax.value_and_grad(loss, has_aux=True)(parameters)
    assert (value, weight) == (0.0, 0.0)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))
    together = {**batch, "labels": jnp.array([1, 1, 0])}
    _, weight = objective.loss(nnx.merge(graph, parameters), together, jax.random.key(0))
    assert weight == 2.0


def test_pairs_without_a_label_are_trained_on_and_validated(make_config, tmp_path, monkeypatch):
    monkeypatch.setenv("ENCODER_TRAINER_CACHE", str(tmp_path / "cache"))
    lines = [f"question {number},answer {number}" for number in range(40)]
    (tmp_path / "pairs.csv").write_text("\n".join(["one,two", *lines]) + "\n")
    config = make_config(
        data={"source": {"train": [{"path": str(tmp_path / "pairs.csv")}], "test": []}, "text": ["one", "two"]},
        model={"width": 8, "heads": 1},
        objective={"kind": "contrastive"},
        training={"maximum_steps": 2},
    )
    summary = train(config, tmp_path / "run", score=scores)
    assert (summary["examples"]["train"], summary["examples"]["validation"]) == (32, 8)
    assert np.isfinite(summary["validation"]["loss"])
    assert 0 <= summary["validation"]["accuracy"] <= 1
