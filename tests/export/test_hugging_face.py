"""A run in the Hugging Face layout is read back by this project; PyTorch's own library reads it in tests/parity/test_export.py."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from tokenizers import Tokenizer, processors

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.data.pretrained import SEARCH_TEMPERATURE, locate_weights, read_safetensors
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
