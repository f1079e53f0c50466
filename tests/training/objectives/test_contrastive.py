import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.data.dataset import load_dataset
from transformer.data.tokenization import SpecialTokens, Split, encode_texts, special_tokens
from transformer.model.encoder import Encoder
from transformer.model.sentence_embedder import SentenceEmbedder, unit
from transformer.training.devices import data_mesh
from transformer.training.experiment import build_experiment
from transformer.training.loop import train
from transformer.training.objectives import contrastive
from transformer.training.objectives.contrastive import (
    ContrastiveEvaluator,
    ContrastiveObjective,
    contrastive_loss,
    have_a_text_in_common,
    tokens_between,
)


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


def test_each_text_of_a_pair_has_the_vector_that_it_has_alone(embedder):
    """Alone, a text begins with the first token; in a pair, only the first text does."""
    texts = [([2, 6, 7], [8, 9]), ([2, 9], [10, 11, 12, 13, 3, 3])]
    tokens = pad([[*first, *second] for first, second in texts], 8)
    types = pad([[0] * len(first) + [1] * len(second) for first, second in texts], 8)
    segments = (tokens != 0).astype(jnp.int32)
    positions = jnp.tile(jnp.arange(8), (2, 1)) * segments
    first, second = embedder.pairs(tokens, segments, positions, types)
    for found, alone in ((first, [pair[0] for pair in texts]), (second, [pair[0][:1] + pair[1] for pair in texts])):
        rows = pad(alone, 8)
        there = (rows != 0).astype(jnp.int32)
        np.testing.assert_allclose(found, embedder(rows, there, jnp.tile(jnp.arange(8), (2, 1)) * there), atol=1e-5)


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
    objective = ContrastiveObjective(schema.Contrastive(), between=0)

    def loss(parameters):
        return objective.loss(nnx.merge(graph, parameters), batch, jax.random.key(0))

    (value, weight), gradient = jax.value_and_grad(loss, has_aux=True)(parameters)
    assert (value, weight) == (0.0, 0.0)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))
    together = {**batch, "labels": jnp.array([1, 1, 0])}
    _, weight = objective.loss(nnx.merge(graph, parameters), together, jax.random.key(0))
    assert weight == 2.0


@pytest.fixture
def pairs_config(make_config, tmp_path, monkeypatch):
    """A tiny experiment on pairs; keyword arguments change sections of it."""
    monkeypatch.setenv("ENCODER_TRAINER_CACHE", str(tmp_path / "cache"))
    lines = [f"question {number},answer {number}" for number in range(40)]
    (tmp_path / "pairs.csv").write_text("\n".join(["one,two", *lines]) + "\n")

    def make(**changes):
        settings = {
            "data": {"source": {"train": [{"path": str(tmp_path / "pairs.csv")}], "test": []}, "text": ["one", "two"]},
            "model": {"width": 8, "heads": 1},
            "objective": {"kind": "contrastive"},
            "training": {"maximum_steps": 2},
        }
        return make_config(**(settings | changes))

    return make


def test_pairs_without_a_label_are_trained_on_and_validated(pairs_config, tmp_path):
    summary = train(pairs_config(), tmp_path / "run")
    assert (summary["examples"]["train"], summary["examples"]["validation"]) == (32, 8)
    assert summary["validation"]["loss"] > 0


def test_what_would_train_something_else_than_it_says_is_refused(pairs_config, tmp_path):
    with pytest.raises(UsageError, match=r"from those of its piece of the batch only; set training\.accumulation=1"):
        build_experiment(pairs_config(training={"accumulation": 2}), print)
    tokenizer = load_dataset(pairs_config(), print).tokenizer
    tokenizer.post_processor = processors.Sequence([])
    tokenizer.save(str(tmp_path / "bare.json"))
    bare = pairs_config().model_copy(update={"tokenizer": schema.TokenizerFile(path=str(tmp_path / "bare.json"))})
    with pytest.raises(UsageError, match="begins every text with its first token"):
        build_experiment(bare, print)


def test_rows_that_have_a_text_in_common_are_no_negatives_of_each_other(embedder):
    """Two questions with one answer, two answers to one question, and a question that is an answer elsewhere: the rest is told apart."""
    rows = [([2, 6, 3], [8, 9, 3]), ([2, 7, 3], [8, 9, 3]), ([2, 7, 7, 3], [10, 3]), ([2, 7, 7, 3], [7, 3]), ([], [])]
    texts = jnp.array([[0, 1], [2, 1], [3, 4], [3, 2], [0, 1]])
    common = np.asarray(have_a_text_in_common(texts, texts))[:4, :4]
    shared = {(0, 1), (1, 3), (2, 3)}
    assert set(zip(*np.nonzero(common), strict=True)) == {(row, row) for row in range(4)} | shared | {(b, a) for a, b in shared}
    tokens, types = pad([[*a, *b] for a, b in rows], 8), pad([[0] * len(a) + [1] * len(b) for a, b in rows], 8)
    segments = (tokens != 0).astype(jnp.int32)
    batch = {
        "tokens": tokens,
        "types": types,
        "segments": segments,
        "positions": jnp.tile(jnp.arange(8), (5, 1)) * segments,
        "labels": jnp.zeros(5, jnp.int32),
        "weights": jnp.array([1.0, 1.0, 1.0, 1.0, 0.0]),
        "texts": texts,
    }
    first, second = (np.asarray(x) for x in embedder.pairs(tokens, segments, batch["positions"], types))
    loss, weight = ContrastiveObjective(schema.Contrastive(temperature=0.5), between=0).loss(embedder, batch, jax.random.key(0))
    allowed = ~common | np.eye(4, dtype=bool)
    scores = np.where(allowed, first[:4] @ second[:4].T / 0.5, -np.inf)
    expected = sum(np.log(np.exp(scores).sum(axis=axis)) - scores.diagonal() for axis in (0, 1)) / 2
    assert (loss, weight) == (pytest.approx(expected.sum(), rel=1e-5), 4.0)


def test_a_text_is_the_same_first_or_second_and_however_its_pair_is_cut(pairs_config, tmp_path):
    """Two rows with a passage that is cut to different lengths, a text that is first here and second there, and capital letters."""
    passage = "the old house near the water where the cat purrs and a dog barks at the boat " * 2
    rows = [("why", passage), ("why does the dog bark", passage), ("The cat", "a boat"), ("a dog", "the cat"), ("fins", "a boat")]
    (tmp_path / "pairs.csv").write_text("one,two\n" + "".join(f"{one},{two}\n" for one, two in rows * 4))
    source = {"train": [{"path": str(tmp_path / "pairs.csv")}], "test": []}
    data = {"source": source, "text": ["one", "two"], "validation_fraction": 0.0, "maximum_length": 16}
    split = load_dataset(pairs_config(data=data), print).train
    assert split.lengths[0] == split.lengths[1] == 16
    np.testing.assert_array_equal(split.pair_texts[:5], [[0, 1], [2, 1], [3, 4], [5, 3], [6, 4]])
    np.testing.assert_array_equal(split.pair_texts[5:10], split.pair_texts[:5])


def test_a_second_text_that_another_pair_has_too_is_right_for_both():
    """Both firsts are nearest to the vector of the answer they share, and that of the third pair to its own."""
    measure, parameters = evaluator(Table(at(0, 10, 100, 5, 110)))
    found = measure(parameters, split_of([[0, 3], [1, 3], [2, 4]], [0, 0, 0], pairs=[(0, 3), (1, 3), (2, 4)], pair_starts=[1, 1, 1]))
    assert found["accuracy"] == 1.0
    cosines = np.cos(np.radians(np.subtract.outer([0, 10, 100], [5, 5, 110]))) / 0.5
    cosines[0, 1] = cosines[1, 0] = -np.inf
    there, back = (np.mean(np.log(np.exp(cosines).sum(axis=axis)) - cosines.diagonal()) for axis in (1, 0))
    assert found["loss"] == pytest.approx((there + back) / 2, rel=1e-5)


def test_a_text_that_is_second_elsewhere_is_not_found_by_itself():
    """The vector nearest to the first of the first pair is its own, as the second of the second pair."""
    measure, parameters = evaluator(Table(at(0, 30, 120, 90)))
    pairs = [(0, 1), (2, 0), (3, 2)]
    found = measure(parameters, split_of([list(pair) for pair in pairs], [0, 0, 0], pairs=pairs, pair_starts=[1, 1, 1]))
    assert found["accuracy"] == 1.0


@pytest.mark.parametrize(("pair", "between"), [("<s> $A </s> $B:1 </s>:1", 0), ("<s> $A </s> </s> $B </s>", 1)])
def test_what_stands_between_two_texts_belongs_to_neither(embedder, pair, between):
    """RoBERTa writes a second </s>, BERT none."""
    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "<mask>": 4, "a": 5, "b": 6, "c": 7}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<pad>", "<unk>", "<s>", "</s>", "<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair=pair, special_tokens=[("<s>", 2), ("</s>", 3)])
    assert tokens_between(tokenizer, special_tokens(tokenizer)) == between
    texts = [("a c", "b"), ("c", "a b c"), ("b b b", "a")]
    split = encode_texts(tokenizer, texts, 12)
    rows = pad([split.tokens[begin:end] for begin, end in itertools.pairwise(split.offsets)], 12)
    columns, there = jnp.arange(12), (jnp.arange(12) < split.lengths[:, None]).astype(jnp.int32)
    types = (columns >= split.pair_starts[:, None]) * there
    together = embedder.pairs(rows, there, columns * there, types, between=between)
    for place in (0, 1):
        alone = encode_texts(tokenizer, [text[place] for text in texts], 12)
        rows = pad([alone.tokens[begin:end] for begin, end in itertools.pairwise(alone.offsets)], 12)
        there = (columns < alone.lengths[:, None]).astype(jnp.int32)
        np.testing.assert_allclose(together[place], embedder(rows, there, columns * there), atol=1e-5)


class Table(nnx.Module):
    """The vector of a text is that of its first token; of a pair's second text, that of its last."""

    def __init__(self, vectors):
        self.vectors = nnx.Param(jnp.asarray(vectors, jnp.float32))

    def __call__(self, tokens, segments, positions):
        return self.vectors[tokens[:, 0]]

    def pairs(self, tokens, segments, positions, types, between):
        last = jnp.take_along_axis(tokens, jnp.sum(segments, axis=1, keepdims=True) - 1, axis=1)[:, 0]
        return self.vectors[tokens[:, 0]], self.vectors[last]


def evaluator(model):
    """Two shapes of batch, so that texts are computed in another order than that of the split, and rows that fill a batch."""
    graph, parameters = nnx.split(model)
    special = SpecialTokens(padding=0, unknown=1, first=2, separator=3, mask=4)
    return ContrastiveEvaluator(graph, special, ((8, 4), (8, 8)), data_mesh(8), 0.5, between=0), parameters


def at(*degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


def split_of(texts, labels, pairs=None, pair_starts=None):
    lengths = np.cumsum([0, *map(len, texts)])
    starts, numbers = (None if given is None else np.array(given, np.int32) for given in (pair_starts, pairs))
    return Split(np.concatenate(texts).astype(np.int32), lengths, np.array(labels, np.int32), starts, numbers)


@pytest.mark.parametrize("rows_at_once", [4, 1024])
def test_a_text_is_right_where_its_nearest_other_text_has_its_label(monkeypatch, rows_at_once):
    monkeypatch.setattr(contrastive, "ROWS_AT_ONCE", rows_at_once)
    # In this order: nearest to 0 is 10, to 10 is 0, to 90 is 110, to 110 is 90, to 200 is 190, to 190 is 200, to 300 is 0.
    angles, labels = [0, 200, 10, 90, 300, 110, 190], [0, 2, 0, 1, 0, 2, 2]
    measure, parameters = evaluator(Table(at(*angles)))
    texts = [np.full(length, token) for token, length in enumerate([7, 1, 5, 2, 8, 3, 6])]
    found = measure(parameters, split_of(texts, labels))
    assert found["accuracy"] == 5 / 7
    cosines = np.cos(np.radians(np.subtract.outer(angles, angles))) / 0.5
    losses = []
    for text, label in enumerate(labels):
        others = [other for other in range(7) if other != text]
        total = np.log(np.exp(cosines[text, others]).sum())
        positives = [other for other in others if labels[other] == label]
        losses += [np.mean([total - cosines[text, other] for other in positives])] if positives else []
    assert len(losses) == 6
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_pair_is_right_where_its_first_text_is_nearest_to_its_own_second():
    # The firsts are at 0, 100 and 200 degrees, the seconds at 20, 170 and 190: 0 finds 20 and 200 finds 190, but 100 finds 170, its own,
    # only where it is nearer than 20.
    measure, parameters = evaluator(Table(at(0, 100, 200, 20, 170, 190)))
    pairs = [[0, 0, 0, 0, 0, 3], [1, 4], [2, 5, 5, 5]]
    found = measure(parameters, split_of(pairs, [0, 0, 0], pairs=[(0, 3), (1, 4), (2, 5)], pair_starts=[5, 1, 1]))
    assert found["accuracy"] == 1.0
    crossed = [[0, 0, 0, 0, 0, 3], [1, 5], [2, 4, 4, 4]]
    found = measure(parameters, split_of(crossed, [0, 0, 0], pairs=[(0, 4), (1, 3), (2, 5)], pair_starts=[5, 1, 1]))
    assert found["accuracy"] == 1 / 3
    cosines = np.cos(np.radians(np.subtract.outer([0, 100, 200], [20, 190, 170]))) / 0.5
    there, back = (np.mean(np.log(np.exp(cosines).sum(axis=axis)) - cosines.diagonal()) for axis in (1, 0))
    assert found["loss"] == pytest.approx((there + back) / 2, rel=1e-5)
