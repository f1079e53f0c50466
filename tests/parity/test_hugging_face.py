"""What is read from the transformers library computes what that library computes, and what is written for it does so there.

Needs PyTorch and transformers: `PYTHON=python3.11 EXTRAS=parity sh scripts/set_up.sh .venv-parity`, then `.venv-parity/bin/python -m pytest
tests/parity`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.config.load import load_config
from transformer.data.cache import cache_directory
from transformer.data.pretrained import locate_weights, read_safetensors
from transformer.data.tokenization import encode_texts, read_tokenizer
from transformer.model.attention import segment_mask, window_mask
from transformer.model.build import build_classifier, build_masked_language_model
from transformer.model.hugging_face import read_architecture, read_parameters, write_model

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install encoder-trainer[parity]")
transformers = pytest.importorskip("transformers", reason="parity needs transformers: pip install encoder-trainer[parity]")

VOCABULARY, CLASSES, LENGTH, PADDING = 97, 3, 24, 1
SIZES = {"vocab_size": VOCABULARY, "num_labels": CLASSES, "pad_token_id": PADDING, "bos_token_id": 0, "eos_token_id": 2}
CONFIGS = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 40},
    "bert_relu": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "hidden_act": "relu"},
    "bert_one_type": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "type_vocab_size": 1},
    "roberta": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "type_vocab_size": 1},
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 40},
    "modernbert": {
        "hidden_size": 32,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "cls_token_id": 0,
        "sep_token_id": 2,
    },
    "modernbert_mean": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "classifier_pooling": "mean"},
}
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
FILLED, SECOND_TEXT = [24, 9, 17], [24, 4, 11]  # tokens of each row, and how many belong to the first text


def batch():
    generator = np.random.default_rng(0)
    filled = np.arange(LENGTH) < np.array(FILLED)[:, None]
    tokens = np.where(filled, generator.integers(3, VOCABULARY, filled.shape), PADDING).astype(np.int32)
    types = (filled & (np.arange(LENGTH) >= np.array(SECOND_TEXT)[:, None])).astype(np.int32)
    positions = np.tile(np.arange(LENGTH, dtype=np.int32), (len(FILLED), 1))
    return tokens, filled.astype(np.int32), positions, types


def their_inputs(model):
    tokens, segments, _, types = batch()
    inputs = {"input_ids": torch.tensor(tokens).long(), "attention_mask": torch.tensor(segments).long()}
    with_types = model.config.model_type == "bert" and model.config.type_vocab_size > 1
    return inputs | ({"token_type_ids": torch.tensor(types).long()} if with_types else {})


def theirs(name, automatic):
    """A model of theirs whose weights are all random, norms and biases too."""
    model_type, _, _ = name.partition("_")
    config = transformers.AutoConfig.for_model(model_type, **SIZES, **CONFIGS[name])
    torch.manual_seed(1)
    model = automatic.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter.normal_(0.0, 0.3)
            if parameter.ndim == 1 and parameter_name.endswith("weight"):
                parameter.add_(1.0)
    return model


def run(model, **options):
    with torch.no_grad():
        return model(**their_inputs(model), **options)


def read(directory, build):
    """Our model with the weights of a directory, every parameter of which must be found there."""
    config = json.loads((directory / "config.json").read_text())
    model = build(schema.Transformer.model_validate(read_architecture(config)))
    state = nnx.state(model)
    found = read_parameters(config, read_safetensors(directory), nnx.to_pure_dict(state))
    assert jax.tree.structure(found) == jax.tree.structure(nnx.to_pure_dict(state))
    return with_parameters(model, found)


def with_parameters(model, parameters):
    state = nnx.state(model)
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, nnx.to_pure_dict(state) | parameters))
    nnx.update(model, state)
    return model


@jax.jit
def compute(model, *arguments, **options):
    return model(*arguments, **options)


def classifier(config):
    shape = {"vocabulary_size": VOCABULARY, "classes": CLASSES, "maximum_length": LENGTH, "pairs": False}
    return build_classifier(config, **shape, key=jax.random.key(0))


def language_model(config):
    return build_masked_language_model(config, vocabulary_size=VOCABULARY, maximum_length=LENGTH, pairs=False, key=jax.random.key(0))


@jax.jit
def hidden_states(encoder, tokens, segments, positions, types):
    """What goes into each layer."""
    x = encoder._embed(tokens, positions, types)
    everything = segment_mask(segments, segments)
    states = []
    for layer in encoder.layers:
        states.append(x)
        mask = everything & window_mask(positions, encoder.local_window) if layer.local else everything
        x = layer(x, mask, positions)
    return states


def every_column():
    return jnp.asarray(batch()[2])


@pytest.mark.parametrize("name", CONFIGS)
def test_classifiers_of_theirs_have_the_same_states_and_logits_here(name, tmp_path):
    model = theirs(name, transformers.AutoModelForSequenceClassification)
    model.save_pretrained(tmp_path)
    ours = read(tmp_path, classifier)
    data, real = tuple(map(jnp.asarray, batch())), batch()[1] != 0
    expected = run(model, output_hidden_states=True)
    np.testing.assert_allclose(compute(ours, *data), expected.logits.numpy(), **TOLERANCE)
    states = [*hidden_states(ours.encoder, *data), compute(ours.encoder, *data)]
    assert len(states) == len(expected.hidden_states)
    for mine, their in zip(states, expected.hidden_states, strict=True):
        np.testing.assert_allclose(np.asarray(mine)[real], their.numpy()[real], **TOLERANCE)


@pytest.mark.parametrize("name", CONFIGS)
def test_masked_language_models_of_theirs_have_the_same_logits_here(name, tmp_path):
    model = theirs(name, transformers.AutoModelForMaskedLM)
    model.save_pretrained(tmp_path)
    ours = read(tmp_path, language_model)
    tokens, segments, positions, types = map(jnp.asarray, batch())
    mine = compute(ours, tokens, segments, positions, types, selected=every_column())
    real = np.asarray(segments) != 0
    np.testing.assert_allclose(np.asarray(mine)[real], run(model).logits.numpy()[real], **TOLERANCE)


POST_NORM = {"norm_position": "post", "positions": "learned", "embedding_norm": True, "norm_epsilon": 1e-12}
OURS = {
    "bert": {**POST_NORM, "head": "tanh", "pooling": ["first"], "token_types": 2},
    "roberta": {**POST_NORM, "head": "tanh", "pooling": ["first"]},
    "distilbert": {**POST_NORM, "head": "relu", "pooling": ["first"], "activation": "gelu_tanh"},
    "modernbert": {
        "positions": "rotary",
        "embedding_norm": True,
        "bias": False,
        "activation": "geglu",
        "local_window": 3,
        "global_every": 3,
        "rotary_base": 5000.0,
        "local_rotary_base": 100.0,
        "layers": 4,
        "head": "gelu_norm",
        "pooling": ["mean"],
    },
}


def randomized(model):
    def shifted(leaf, key):
        return leaf + 0.2 * jax.random.normal(key, leaf.shape)

    state = nnx.state(model)
    leaves, structure = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    nnx.update(model, jax.tree.unflatten(structure, [shifted(leaf, key) for leaf, key in zip(leaves, keys, strict=True)]))
    return model


def written(model, config, kind, directory):
    """The model as the library loads it, and what it says about that."""
    special = {"padding": PADDING, "first": 0, "separator": 2}
    labels = ["a", "b", "c"] if kind == "classification" else []
    parameters = nnx.to_pure_dict(nnx.state(model))
    values, tensors = write_model(config, parameters, kind=kind, maximum_length=LENGTH, labels=labels, **special)
    (directory / "config.json").write_text(json.dumps(values))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    automatic = {
        "classification": transformers.AutoModelForSequenceClassification,
        "masked_language_model": transformers.AutoModelForMaskedLM,
        "encoder": transformers.AutoModel,
    }[kind]
    loaded, information = automatic.from_pretrained(directory, output_loading_info=True)
    assert not any(information.values()), information
    assert type(loaded).__name__ == values["architectures"][0]
    return loaded.eval()


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("name", OURS)
def test_what_is_written_is_loaded_there_and_computes_the_same(name, scan, tmp_path):
    if scan and name == "modernbert":
        pytest.skip("its layers are not alike, so they are never scanned")
    config = schema.Transformer(width=32, heads=4, feed_forward=72, scan_layers=scan, **OURS[name])
    tokens, segments, positions, types = map(jnp.asarray, batch())
    data = (tokens, segments, positions, types if name == "bert" else None)
    real = np.asarray(segments) != 0

    ours = randomized(classifier(config))
    loaded = written(ours, config, "classification", tmp_path)
    assert loaded.config.model_type == name
    assert loaded.config.id2label == {0: "a", 1: "b", 2: "c"}
    np.testing.assert_allclose(run(loaded).logits.numpy(), compute(ours, *data), **TOLERANCE)

    encoder = written(ours, config, "encoder", tmp_path)
    np.testing.assert_allclose(run(encoder).last_hidden_state.numpy()[real], np.asarray(compute(ours.encoder, *data))[real], **TOLERANCE)

    ours = randomized(language_model(config))
    loaded = written(ours, config, "masked_language_model", tmp_path)
    expected = np.asarray(compute(ours, *data, selected=every_column()))
    np.testing.assert_allclose(run(loaded).logits.numpy()[real], expected[real], **TOLERANCE)


def test_a_model_from_scratch_without_token_types_is_written_as_a_bert(tmp_path):
    config = schema.Transformer(width=32, heads=4, feed_forward=72, **POST_NORM)
    ours = randomized(language_model(config))
    loaded = written(ours, config, "masked_language_model", tmp_path)
    assert loaded.config.model_type == "bert"
    tokens, segments, positions, _ = map(jnp.asarray, batch())
    expected = np.asarray(compute(ours, tokens, segments, positions, selected=every_column()))
    real = np.asarray(segments) != 0
    np.testing.assert_allclose(run(loaded).logits.numpy()[real], expected[real], **TOLERANCE)


def test_the_command_for_a_directory_with_a_pickle_converts_model_and_tokenizer(tmp_path):
    directory = tmp_path / "old"
    directory.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{index}" for index in range(VOCABULARY - 5))]
    (directory / "vocab.txt").write_text("\n".join(words) + "\n")
    model = theirs("bert", transformers.AutoModel)
    model.config.save_pretrained(directory)
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    with pytest.raises(UsageError) as error:
        locate_weights(schema.DirectoryWeights(path=str(directory)), print)
    _, _, command = str(error.value).partition('python -c "')
    subprocess.run([sys.executable, "-c", command.partition('"')[0]], cwd=tmp_path, check=True)
    converted = locate_weights(schema.DirectoryWeights(path=str(tmp_path / "converted")), print)
    assert read_tokenizer(converted / "tokenizer.json").encode("word3 word90").tokens == ["[CLS]", "word3", "word90", "[SEP]"]
    np.testing.assert_array_equal(
        read_safetensors(converted)["embeddings.word_embeddings.weight"], model.state_dict()["embeddings.word_embeddings.weight"]
    )


def test_the_published_minilm_embeds_texts_alike(monkeypatch):
    monkeypatch.setenv("ENCODER_TRAINER_CACHE", os.environ["USERS_CACHE"])
    source = load_config(Path(__file__).parents[2] / "configs" / "fine_tune" / "minilm_newsgroups.yaml").model.initialize_from
    if not list((cache_directory() / "packages").glob(f"{source.sha256[:16]}-*")):
        pytest.skip("the weights are not in the cache; python train.py configs/fine_tune/minilm_newsgroups.yaml --dry-run fetches them")
    directory = locate_weights(source, print)
    texts = ["A query is compared with every key.", "Softmax!", "The values are averaged by the weights, naïve as that may seem to 数学家."]
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = transformers.AutoModel.from_pretrained(directory).eval()(**encoded).last_hidden_state.numpy()
    mask = encoded["attention_mask"].numpy()[:, :, None]
    expected = (states * mask).sum(axis=1) / mask.sum(axis=1)

    split = encode_texts(read_tokenizer(directory / "tokenizer.json"), texts, 64)
    tokens, segments, positions = (np.zeros((len(texts), 64), np.int32) for _ in range(3))
    for row, length in enumerate(split.lengths):
        tokens[row, :length] = split.tokens[split.offsets[row] : split.offsets[row + 1]]
        segments[row, :length], positions[row, :length] = 1, np.arange(length)
    config = json.loads((directory / "config.json").read_text())
    model = build_classifier(
        schema.Transformer.model_validate(read_architecture(config)),
        vocabulary_size=config["vocab_size"],
        classes=2,
        maximum_length=64,
        pairs=False,
        key=jax.random.key(0),
    )
    model = with_parameters(model, read_parameters(config, read_safetensors(directory), nnx.to_pure_dict(nnx.state(model))))
    mine = np.asarray(compute(model.encoder, *map(jnp.asarray, (tokens, segments, positions))))
    mean = (mine * segments[:, :, None]).sum(axis=1) / segments.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mean, expected, **TOLERANCE)
