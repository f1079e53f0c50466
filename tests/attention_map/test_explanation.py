"""What an attention map shows is what the model did."""

import base64
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from transformer.attention_map.explanation import attention_rollout, by_word, explain, weight_of_evidence
from transformer.attention_map.page import attention_map_page, decision_sentences, pack
from transformer.attention_map.words import cut_texts, encode_text, membership, text_words
from transformer.config import schema
from transformer.data.tokenization import encode_texts, special_tokens
from transformer.data.tokenizer_training import train_tokenizer
from transformer.training.devices import data_mesh
from transformer.training.models import initial_model
from transformer.training.run import Run

TEXTS = ["Unbelievable whispering winds, again!", "the windows whisper", "石油价格上涨了 and oil rises", "don't stop", "🦆 ducks"]
LENGTH = 48


def tokenizer(kind="wordpiece", vocabulary_size=120):
    return train_tokenizer(schema.TrainedTokenizer(kind=kind, vocabulary_size=vocabulary_size, minimum_frequency=1), TEXTS * 3)


def run(pairs=False, **model):
    values = {
        "name": "untrained",
        "data": {
            "source": {"kind": "files", "train": [{"path": "absent.jsonl"}]},
            "text": ["first", "second"] if pairs else ["text"],
            "maximum_length": LENGTH,
        },
        "batching": {"tokens": 512, "length_groups": 1},
        "model": model,
    }
    config = schema.Config.model_validate(values)
    trained, labels = tokenizer(), ["calm", "stormy"]
    graph, parameters = initial_model(config, trained, labels)
    return Run(
        Path("nowhere"), config, trained, special_tokens(trained), labels, parameters, graph, data_mesh(config.batching.row_multiple)
    )


TRANSFORMER = {"kind": "transformer", "width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "dropout": 0.0}


@pytest.fixture(scope="module")
def transformer():
    return run(**TRANSFORMER)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "byte", "character"])
@pytest.mark.parametrize("text", [*TEXTS, "", "  two  spaces ", "a" * 99, "Ünïcödé x\u0301", "未知 ☃ שלום\u202e"])
def test_words_are_the_text_and_hold_every_token_once(kind, text):
    trained = TOKENIZERS[kind]
    encoding = encode_text(trained, text, LENGTH)
    assert encoding.ids == encode_texts(trained, [text], LENGTH).tokens.tolist()
    words = text_words(encoding, (text,))
    assert [word.first for word in words[1:]] == [word.end for word in words[:-1]]
    assert words[-1].end == len(encoding.ids)
    inside = [word for word in words if not word.special]
    assert all(before.stop <= after.begin for before, after in itertools.pairwise(inside))
    assert (membership(words).sum(axis=1) == 1).all()


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "byte", "character"])
@pytest.mark.parametrize("framed", [True, False])
def test_a_text_is_cut_where_it_has_more_tokens_than_are_read(kind, framed):
    trained = Tokenizer.from_str(TOKENIZERS[kind].to_str())
    if not framed:
        trained.post_processor = None
    long = "wind again " * 30

    def cut(*texts):
        return cut_texts(trained, encode_text(trained, texts if len(texts) == 2 else texts[0], LENGTH), texts, LENGTH)

    for text in (*TEXTS, "", "שלום עולם\u200f", "wheat\u200b", "\x00", "wind" + " \n" * 99 * LENGTH):
        assert cut(text) == (False,)
    for text in ("", "wind\u200b", "\x00"):
        assert cut(long, text) == (True, False)
        assert cut(text, long) == (False, True)
    assert cut(long) == (True,)
    assert cut(long, long) == (True, True)
    # A tokenizer of bytes reads only some of the last duck: no character is left that could be marked.
    assert cut("🦆" * 12) == (False,)
    # Whatever the tokens, so many characters are not looked at.
    assert cut("\u200b" * 64 * LENGTH + "wind") == (True,)


TOKENIZERS = {kind: tokenizer(kind, 261 if kind == "byte" else 120) for kind in ("wordpiece", "bpe", "unigram", "byte", "character")}


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "byte"])
def test_pieces_are_put_together_as_words_and_chinese_stays_apart(kind):
    def shown(text):
        return [
            text[word.begin : word.stop] for word in text_words(encode_text(TOKENIZERS[kind], text, LENGTH), (text,)) if not word.special
        ]

    assert shown("Whispering ducks") == ["Whispering", "ducks"]
    chinese = shown("oil 石油")
    assert chinese[0] == "oil"
    assert "".join(chinese[1:]) == "石油"
    assert kind == "bpe" or chinese[1:] == ["石", "油"]


def test_the_label_is_what_the_run_predicts(transformer):
    split = encode_texts(transformer.tokenizer, TEXTS[:1], LENGTH)
    expected = transformer.predictor(split.lengths)(transformer.parameters, split)[0]
    np.testing.assert_allclose(explain(transformer, TEXTS[0]).probabilities, expected, rtol=1e-5)


def test_leaving_a_word_out_is_what_the_run_predicts_without_it(transformer):
    explanation = explain(transformer, "whisper again winds")
    split = encode_texts(transformer.tokenizer, ["again winds"], LENGTH)
    expected = transformer.predictor(split.lengths)(transformer.parameters, split)[0]
    np.testing.assert_allclose(explanation.without[1], expected[explanation.probabilities.argmax()], rtol=1e-5)
    assert np.isnan(explanation.without[[0, -1]]).all()
    assert (explanation.evidence[[0, -1]] == 0).all()


def test_every_words_weights_sum_to_one(transformer):
    text = "windwhispering againstop"
    explanation = explain(transformer, text)
    words = len(explanation.words)
    assert explanation.self_attention.shape == (2, 2, words, words)
    assert 4 == words < len(encode_text(transformer.tokenizer, text, LENGTH).ids)
    for weights in (explanation.self_attention, explanation.rollout):
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)


def test_other_models_show_what_they_have():
    bahdanau = explain(run(kind="lstm", width=8, hidden=8, pooling=["attention"]), TEXTS[1])
    np.testing.assert_allclose(bahdanau.pooling["attention"].sum(), 1, rtol=1e-5)
    assert bahdanau.self_attention is None
    assert "no attention weights" not in " ".join(decision_sentences(bahdanau, "lstm"))
    assert np.isfinite(bahdanau.evidence).all()
    plain = dataclasses.replace(bahdanau, pooling={})
    assert "This model (lstm) has no attention weights" in " ".join(decision_sentences(plain, "lstm"))


def test_pairs_are_explained():
    pairs = run(pairs=True, **TRANSFORMER)
    explanation = explain(pairs, ("whisper winds", "windows"))
    assert [word.part for word in explanation.words] == [None, 0, 0, None, 1, None]
    split = encode_texts(pairs.tokenizer, [("winds", "windows")], LENGTH)
    expected = pairs.predictor(split.lengths)(pairs.parameters, split)[0]
    np.testing.assert_allclose(explanation.without[1], expected[explanation.probabilities.argmax()], rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "unread"), [("שלום עולם\u200f", 0), ("wheat\u200b", 0), ("\x00", 0), ("x" * 64 * LENGTH + "wheat", 2), ("wind " * 99, 2)]
)
def test_a_page_marks_as_not_read_what_the_model_left_unread(transformer, text, unread):
    page = attention_map_page(explain(transformer, text), "run", "transformer")
    assert page.count('<span class="unread"') == unread
    assert page.count("is too long: its grey end was not read.") == min(unread, 1)


def test_a_text_without_tokens_is_not_called_a_model_without_attention(transformer):
    bare = Tokenizer.from_str(transformer.tokenizer.to_str())
    bare.post_processor = None
    told = decision_sentences(explain(dataclasses.replace(transformer, tokenizer=bare), ""), "transformer")
    assert told[2:] == ["The text has no tokens: the model read nothing of it."]


def test_a_sentence_holds_no_endless_word(transformer):
    explanation = explain(transformer, "x" * 20_000)
    certain = dataclasses.replace(explanation, evidence=np.array([0.0, 1.0, 0.0]))
    told = decision_sentences(certain, "transformer")[2]
    assert f"is “{'x' * 40}…” (without it" in told
    assert len(told) < 100


def test_evidence_is_the_change_of_the_log_odds():
    evidence = weight_of_evidence(np.array([[0.8, 0.2], [0.5, 0.5], [0.8, 0.2], [0.9, 0.1]]))
    np.testing.assert_allclose(evidence, [np.log(4), 0, np.log(4 / 9)], rtol=1e-12, atol=1e-12)
    certain = weight_of_evidence(np.array([[1.0, 1e-20], [1.0, 1e-10], [0.0, 1.0]], np.float32))
    np.testing.assert_allclose(certain[0], np.log(1e10), rtol=1e-5)
    assert np.isfinite(certain).all()


def test_rollout_multiplies_the_layers():
    # One layer: half of the state is kept. Two layers in which each token looks at the next: half, twice a quarter.
    following = np.roll(np.eye(4), 1, axis=1)
    once = attention_rollout(following[None, None])
    np.testing.assert_allclose(once, (np.eye(4) + following) / 2)
    twice = attention_rollout(np.stack([following[None]] * 2))
    np.testing.assert_allclose(twice[0], [0.25, 0.5, 0.25, 0])
    # The last layer's weights come last: a first layer that looks at nothing else changes nothing.
    np.testing.assert_allclose(attention_rollout(np.stack([np.eye(4)[None], following[None]])), once)
    first = np.zeros((1, 4, 4))
    first[..., 2] = 1
    by_hand = (following + np.eye(4)) / 2 @ ((first[0] + np.eye(4)) / 2)
    np.testing.assert_allclose(attention_rollout(np.stack([first, following[None]])), by_hand)


def test_tokens_become_words_by_mean_and_sum():
    weights = np.array([[0.5, 0.25, 0.25], [0.1, 0.4, 0.5], [0.3, 0.3, 0.4]])
    belongs = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(by_word(weights, belongs), [[0.625, 0.375], [0.6, 0.4]])


def test_a_long_text_fits_into_a_page():
    """512 words, 6 layers of 12 heads: the largest weights of each word are kept, to 1 / 65,535."""
    generator = np.random.default_rng(0)
    maps = generator.random((73, 512, 512), np.float32)
    maps /= maps.sum(axis=-1, keepdims=True)
    packed = pack(maps)
    assert len(packed["keys"]) + len(packed["weights"]) < 4 * 2**20
    assert packed["kept"] == 16
    keys, weights = (np.frombuffer(base64.b64decode(packed[name]), "<u2").reshape(73, 512, 16) for name in ("keys", "weights"))
    np.testing.assert_allclose(np.take_along_axis(maps, keys.astype(int), axis=-1), weights / 65535, atol=1e-5)
    np.testing.assert_allclose(weights.max(axis=-1) / 65535, maps.max(axis=-1), atol=1e-5)
