"""What a search is asked with, and the temperature of its cosines."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.model.build import build_sentence_embedder
from transformer.model.hugging_face import write_model
from transformer.search import models


@pytest.mark.parametrize(("objective", "temperature"), [(schema.Contrastive(temperature=0.2), 0.2), (schema.Classification(), 0.05)])
def test_a_config_that_names_a_run_is_searched_with_as_the_run(tmp_path, monkeypatch, embedder, objective, temperature):
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setattr(models, "load_run", {run: SimpleNamespace(config=SimpleNamespace(objective=objective))}.__getitem__)
    monkeypatch.setattr(models, "embed_run", lambda run: embedder)
    monkeypatch.setattr(models, "locate_weights", lambda weights, report: run)
    data = "data: {source: {kind: files, train: [{path: none.csv}]}}\n"
    (tmp_path / "config.yaml").write_text(f"name: next\n{data}model: {{initialize_from: {{kind: run, path: {run}}}}}\n")
    for name in (run, tmp_path / "config.yaml"):
        assert models.open_model(str(name), print) == (embedder, temperature)


def test_a_config_that_starts_from_nothing_is_told_what_to_do(tmp_path):
    (tmp_path / "config.yaml").write_text("name: next\ndata: {source: {kind: files, train: [{path: none.csv}]}}\n")
    with pytest.raises(UsageError, match=r"no model\.initialize_from; train it with python train\.py .*config\.yaml"):
        models.open_model(str(tmp_path / "config.yaml"), print)


@pytest.fixture
def weights(tmp_path, embedder):
    """A directory in the Hugging Face layout, its weights drawn at random."""
    settings = schema.Transformer(
        width=16, heads=2, layers=2, feed_forward=24, norm_position="post", positions="learned", embedding_norm=True, token_types=2
    )
    vocabulary = embedder._tokenizer.get_vocab_size()
    model = build_sentence_embedder(settings, key=jax.random.key(0), vocabulary_size=vocabulary, maximum_length=12, pairs=False)
    config, tensors = write_model(
        settings, nnx.to_pure_dict(nnx.state(model)), kind="encoder", maximum_length=12, padding=0, first=2, separator=3
    )
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(tensors, tmp_path / "model.safetensors")
    embedder._tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path, model


def test_weights_in_the_hugging_face_layout_embed_as_the_model_they_were(weights):
    directory, model = weights
    told = []
    found, temperature = models.open_model(str(directory), told.append)
    assert (temperature, told) == (schema.Contrastive().temperature, [])
    ids = jnp.array([found._tokenizer.encode("crude oil price").ids], jnp.int32)[:, :12]
    expected = model(ids, jnp.ones_like(ids), jnp.arange(ids.shape[1])[None])
    np.testing.assert_allclose(found(["crude oil price"]), expected, atol=1e-5)


def test_code_in_the_config_of_weights_is_told(weights):
    path = weights[0] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoModel": "modeling.Own"}}))
    told = []
    models.open_model(str(weights[0]), told.append)
    assert told == [f"{path} names code of its own (auto_map), which is never run; the weights are read as a plain bert"]
