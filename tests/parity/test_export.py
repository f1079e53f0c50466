"""What is trained and exported here loads in PyTorch's transformers library, nothing missing and nothing left over, and predicts the same.

Needs the environment that tests/parity/test_hugging_face.py names.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from transformer.config import schema
from transformer.data.tokenization import encode_texts
from transformer.data.tokenizer_training import train_tokenizer
from transformer.export.directory import write_directory
from transformer.export.hugging_face import export_hugging_face
from transformer.training.loop import train
from transformer.training.run import load_run

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install encoder-trainer[parity]")
transformers = pytest.importorskip("transformers", reason="parity needs transformers: pip install encoder-trainer[parity]")

LENGTH, TOLERANCE = 24, 1e-4
WORDS = {"cat": "whiskers purrs mouse".split(), "dog": "barks leash bone".split(), "魚": "scales fins water".split()}
OTHERS = "the a of and seen today near house small old".split()
TEXTS = ["the purrs of a mouse", "Bone!", "", "fins " * 40, "未知 old scales", "[MASK] barks"]
PAIRS = [("the house", "fins water"), ("", "bone"), ("old " * 40, "mouse"), ("a mouse", "near " * 40), ("a", "")]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Texts and pairs to train on, and a BERT that the other library drew at random, with a tokenizer."""
    directory = tmp_path_factory.mktemp("files")
    generator = np.random.default_rng(0)
    for name, columns in (("texts", ["text"]), ("pairs", ["first", "second"])):
        rows = []
        for row in range(60):
            label = list(WORDS)[row % 3]
            words = [" ".join([*generator.choice(OTHERS, generator.integers(1, 12)), *generator.choice(WORDS[label], 2)]) for _ in columns]
            rows.append({**dict(zip(columns, words, strict=True)), "label": label})
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [" ".join([*OTHERS, *(word for words in WORDS.values() for word in words)])] * 2
    tokenizer = train_tokenizer(schema.TrainedTokenizer(vocabulary_size=120, minimum_frequency=1), texts)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 40}
    torch.manual_seed(1)
    model = transformers.BertModel(transformers.BertConfig(vocab_size=tokenizer.get_vocab_size(), initializer_range=0.2, **sizes))
    model.save_pretrained(directory / "bert")
    tokenizer.save(str(directory / "bert" / "tokenizer.json"))
    return directory


def exported(files, tmp_path, *, pairs=False, objective="classification", scratch=False, **model):
    """A few steps of training, from the other library's BERT or from scratch, and the run as that library reads it."""
    weights = {} if scratch else {"initialize_from": {"kind": "directory", "path": str(files / "bert")}}
    columns = {"text": ["first", "second"]} if pairs else {}
    source = {"kind": "files", "train": [{"path": str(files / f"{'pairs' if pairs else 'texts'}.jsonl")}]}
    config = {
        "name": "tiny",
        "data": {"source": source, "maximum_length": LENGTH, "validation_fraction": 0.2, **columns},
        "tokenizer": {"kind": "wordpiece", "vocabulary_size": 120, "minimum_frequency": 1} if scratch else {"kind": "pretrained"},
        "batching": {"tokens": 256, "length_groups": 1},
        "model": weights | model,
        "objective": {"kind": objective},
        "optimizer": {"learning_rate": 0.01},
        "training": {"maximum_steps": 6, "metric": "loss"},
    }
    train(schema.Config.model_validate(config), tmp_path / "run")
    run = load_run(tmp_path / "run")
    write_directory(tmp_path / "out", lambda directory: export_hugging_face(run, directory, "out"))
    return run, tmp_path / "out"


def loaded(automatic, directory):
    model, told = automatic.from_pretrained(directory, output_loading_info=True)
    assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    return model.eval(), transformers.AutoTokenizer.from_pretrained(directory)


def their_inputs(tokenizer, texts):
    columns = zip(*texts, strict=True) if isinstance(texts[0], tuple) else [texts]
    return tokenizer(*map(list, columns), padding=True, truncation=True, return_tensors="pt")


MODERN = {
    "scratch": True,
    "width": 32,
    "feed_forward": 72,
    "positions": "rotary",
    "embedding_norm": True,
    "bias": False,
    "activation": "geglu",
    "local_window": 3,
    "global_every": 2,
    "head": "gelu_norm",
    "layers": 3,
    "token_types": 0,
}
ROBERTA = {
    "scratch": True,
    "width": 32,
    "feed_forward": 48,
    "norm_position": "post",
    "positions": "learned",
    "embedding_norm": True,
    "pooling": ["first"],
    "head": "tanh",
}


@pytest.mark.parametrize(
    ("model", "pairs"),
    [
        pytest.param({}, False, id="texts"),
        pytest.param({}, True, id="pairs"),
        pytest.param({"low_rank": {"rank": 2}, "frozen_layers": 1}, True, id="LoRA"),
        pytest.param(MODERN, False, id="ModernBERT from scratch"),
        pytest.param(ROBERTA, False, id="RoBERTa from scratch"),
        pytest.param({**ROBERTA, "token_types": 2}, True, id="BERT from scratch"),
    ],
)
def test_a_classifier_gives_the_same_probabilities(files, tmp_path, model, pairs):
    run, out = exported(files, tmp_path, pairs=pairs, **model)
    theirs, tokenizer = loaded(transformers.AutoModelForSequenceClassification, out)
    texts = PAIRS if pairs else TEXTS
    split = encode_texts(run.tokenizer, texts, LENGTH)
    inputs = their_inputs(tokenizer, texts)
    assert [row.sum().item() for row in inputs["attention_mask"]] == split.lengths.tolist()
    with torch.no_grad():
        found = theirs(**inputs).logits.softmax(-1).numpy()
    expected = run.predictor(split.lengths)(run.parameters, split)
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert [theirs.config.id2label[index] for index in found.argmax(1)] == [run.labels[index] for index in expected.argmax(1)]


def test_a_masked_language_model_gives_the_same_tokens(files, tmp_path):
    run, out = exported(files, tmp_path, objective="masked_language_model")
    theirs, tokenizer = loaded(transformers.AutoModelForMaskedLM, out)
    encoded = their_inputs(tokenizer, TEXTS)
    with torch.no_grad():
        found = theirs(**encoded).logits.numpy()
    tokens, real = (jnp.asarray(encoded[name].numpy(), jnp.int32) for name in ("input_ids", "attention_mask"))
    columns = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    model = nnx.merge(run.graph, run.parameters)
    expected = jax.jit(lambda *inputs: model(*inputs, selected=columns))(tokens, real, columns)
    visible = np.asarray(real, bool)
    np.testing.assert_allclose(found[visible], np.asarray(expected)[visible], atol=TOLERANCE, rtol=TOLERANCE)


def test_an_encoder_to_search_with_gives_the_same_vectors(files, tmp_path):
    run, out = exported(files, tmp_path, objective="contrastive")
    theirs, tokenizer = loaded(transformers.AutoModel, out)
    encoded = their_inputs(tokenizer, TEXTS)
    with torch.no_grad():
        states = theirs(**encoded).last_hidden_state.numpy()
    mask = encoded["attention_mask"].numpy()
    means = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    positions = jnp.broadcast_to(jnp.arange(mask.shape[1]), mask.shape)
    model = nnx.merge(run.graph, run.parameters)
    expected = jax.jit(model)(jnp.asarray(encoded["input_ids"].numpy(), jnp.int32), jnp.asarray(mask, jnp.int32), positions)
    np.testing.assert_allclose(means / np.linalg.norm(means, axis=1, keepdims=True), expected, atol=TOLERANCE)
