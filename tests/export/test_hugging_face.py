"""A run in the Hugging Face layout is read back by this project; PyTorch's own library reads it in tests/parity/test_export.py."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, processors

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.data.pretrained import SEARCH_TEMPERATURE, locate_weights, read_safetensors
from transformer.data.tokenization import read_tokenizer, special_tokens
from transformer.export.hugging_face import export_hugging_face
from transformer.model.hugging_face import read_architecture, read_parameters
from transformer.training.models import abstract_model

BERT = {"norm_position": "post", "positions": "learned", "embedding_norm": True, "pooling": ["first"], "head": "tanh"}


def written(run, tmp_path):
    directory = tmp_path / "out"
    directory.mkdir()
    export_hugging_face(run, directory, "out")
    return directory


def test_the_files_are_those_that_the_library_looks_for(make_run, tmp_path):
    run = make_run(BERT, labels=["魚", "b", "c"])
    directory = written(run, tmp_path)
    assert len({path.stat().st_mode for path in directory.iterdir()}) == 1
    assert locate_weights(schema.DirectoryWeights(path=str(directory)), print) == directory
    config = json.loads((directory / "config.json").read_text())
    assert config["id2label"] == {"0": "魚", "1": "b", "2": "c"}
    with safe_open(directory / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}
    tokenizer = json.loads((directory / "tokenizer_config.json").read_text())
    assert (tokenizer["model_max_length"], tokenizer["mask_token"], tokenizer["pad_token"]) == (24, "[MASK]", "[PAD]")
    assert json.loads((directory / "special_tokens_map.json").read_text()).items() <= tokenizer.items()
    text = "the cat purrs"
    assert Tokenizer.from_file(str(directory / "tokenizer.json")).encode(text).ids == run.tokenizer.encode(text).ids


def read_back(run, directory):
    """The run's model with the weights of a directory in this layout, every one of which must be found there."""
    config = json.loads((directory / "config.json").read_text())
    graph, parameters = abstract_model(run.config, run.tokenizer, run.labels)
    found = read_parameters(config, read_safetensors(directory), nnx.to_pure_dict(parameters))
    assert jax.tree.structure(found) == jax.tree.structure(nnx.to_pure_dict(parameters))
    nnx.replace_by_pure_dict(parameters, jax.tree.map(jnp.asarray, found))
    return nnx.merge(graph, parameters)


def test_a_byte_level_tokenizer_keeps_robertas_names_indices_and_frame(make_run, roberta_tokenizer, tmp_path):
    run = make_run(BERT, tokenizer=roberta_tokenizer)
    directory = written(run, tmp_path)
    config = json.loads((directory / "config.json").read_text())
    assert (config["model_type"], config["vocab_size"]) == ("roberta", 300)
    assert (config["pad_token_id"], config["bos_token_id"], config["eos_token_id"]) == (1, 0, 2)
    assert config["max_position_embeddings"] == 24 + 2  # the library counts them from behind <pad>
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    names = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
    assert json.loads((directory / "special_tokens_map.json").read_text()) == names
    assert names.items() <= settings.items()
    assert settings["model_input_names"] == ["input_ids", "attention_mask"]
    tokenizer = read_tokenizer(locate_weights(schema.DirectoryWeights(path=str(directory)), print) / "tokenizer.json")
    assert special_tokens(tokenizer) == run.special
    for text in ("the cat", " the cat", "", "naïve 猫 🦆\n", "a <mask> barks", ("the cat", "a dog"), ("", "")):
        ours, theirs = (each.encode(*[text] if isinstance(text, str) else text) for each in (roberta_tokenizer, tokenizer))
        assert (ours.ids, ours.type_ids) == (theirs.ids, [0] * len(ours.ids))
        assert (ours.ids[0], ours.ids[-1]) == (0, 2)
    assert tokenizer.decode(tokenizer.encode("naïve 猫 🦆\n").ids) == "naïve 猫 🦆\n"
    tokens = jnp.asarray([tokenizer.encode("the old house near the water").ids], jnp.int32)
    batch = {"tokens": tokens, "segments": jnp.ones_like(tokens), "positions": jnp.arange(tokens.size)[None]}
    np.testing.assert_array_equal(read_back(run, directory)(**batch), nnx.merge(run.graph, run.parameters)(**batch))


def test_weights_in_several_files_are_those_in_one(make_run, tmp_path):
    """As the hub has large models: each tensor is in the file that the index names, whatever the order."""
    run = make_run(BERT)
    directory = written(run, tmp_path)
    tokens = jnp.arange(12, dtype=jnp.int32).reshape(2, 6)
    batch = {"tokens": tokens, "segments": jnp.ones_like(tokens), "positions": tokens % 6}
    whole = read_back(run, directory)(**batch)
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    files = {name: f"model-{number % 3 + 1:05}-of-00003.safetensors" for number, name in enumerate(sorted(tensors, reverse=True))}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in tensors if files[name] == file}, directory / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}, "weight_map": files}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert locate_weights(schema.DirectoryWeights(path=str(directory)), print) == directory
    np.testing.assert_array_equal(read_back(run, directory)(**batch), whole)
    lost = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    save_file({name: tensors[name] for name in tensors if files[name] == files[lost] and name != lost}, directory / files[lost])
    with pytest.raises(UsageError, match=f"no tensor {lost}"):
        read_back(run, directory)
    (directory / files[lost]).write_bytes(b"broken")
    with pytest.raises(UsageError, match=rf"{files[lost]} is not a safetensors file that can be read"):
        read_back(run, directory)


def test_low_rank_sums_are_merged(make_run, tmp_path):
    run = make_run({**BERT, "low_rank": {"rank": 2}}, labels=["a", "b"])
    directory = written(run, tmp_path)
    config = json.loads((directory / "config.json").read_text())
    plain = run.config.model.model_copy(update={"low_rank": None})
    graph, parameters = abstract_model(run.config.model_copy(update={"model": plain}), run.tokenizer, run.labels)
    found = read_parameters(config, read_safetensors(directory), nnx.to_pure_dict(parameters))
    nnx.replace_by_pure_dict(parameters, jax.tree.map(jnp.asarray, found))
    assert read_architecture(config)["width"] == 16
    tokens = jnp.arange(12, dtype=jnp.int32).reshape(2, 6)
    batch = {"tokens": tokens, "segments": jnp.ones_like(tokens), "positions": tokens % 6}
    expected = nnx.merge(run.graph, run.parameters)(**batch)
    np.testing.assert_allclose(nnx.merge(graph, parameters)(**batch), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        pytest.param({"kind": "lstm"}, "model.kind=transformer .*model.head=tanh", id="recurrent"),
        pytest.param({"feed_forward": 32}, "model.positions=rotary", id="sinusoids"),
        pytest.param({**BERT, "pooling": ["mean"]}, r"model.pooling=\[first\]", id="pooling"),
    ],
)
def test_a_model_that_has_no_place_there_is_refused(make_run, tmp_path, model, remedy):
    with pytest.raises(UsageError, match=remedy):
        written(make_run(model), tmp_path)
    assert not any((tmp_path / "out").iterdir())


def test_the_remedy_for_a_recurrent_network_works(make_run, tmp_path):
    with pytest.raises(UsageError) as error:
        export_hugging_face(make_run({"kind": "lstm"}), tmp_path, "out")
    settings = dict(part.removeprefix("model.").split("=") for part in str(error.value).split() if part.startswith("model."))
    model = {name: {"[first]": ["first"], "true": True}.get(value, value) for name, value in settings.items()}
    written(make_run(model), tmp_path)


def without_types(run):
    tokenizer = Tokenizer.from_str(run.tokenizer.to_str())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return dataclasses.replace(run, tokenizer=tokenizer)


def test_pairs_need_a_tokenizer_that_tells_them_apart(make_run, tmp_path):
    with pytest.raises(UsageError, match="--format stablehlo"):
        written(without_types(make_run(BERT, data={"text": ["first", "second"]})), tmp_path)
    assert not any((tmp_path / "out").iterdir())


def test_pairs_that_are_read_apart_need_no_such_tokenizer(make_run, tmp_path):
    run = make_run(BERT, data={"text": ["first", "second"]}, objective={"kind": "contrastive", "temperature": 0.5})
    directory = written(without_types(run), tmp_path)
    assert json.loads((directory / "config.json").read_text())[SEARCH_TEMPERATURE] == 0.5


def test_a_model_of_one_type_is_given_none(make_run, tmp_path):
    run = make_run({**BERT, "token_types": 1}, data={"text": ["first", "second"]}, labels=["a", "b"])
    directory = written(without_types(run), tmp_path)
    assert json.loads((directory / "config.json").read_text())["type_vocab_size"] == 1
    assert json.loads((directory / "tokenizer_config.json").read_text())["model_input_names"] == ["input_ids", "attention_mask"]
    tokens = jnp.arange(12, dtype=jnp.int32).reshape(2, 6)
    batch = {"tokens": tokens, "segments": jnp.ones_like(tokens), "positions": tokens % 6}
    model = nnx.merge(run.graph, run.parameters)
    np.testing.assert_array_equal(model(**batch, types=tokens % 2), model(**batch, types=jnp.zeros_like(tokens)))
