import json

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from transformer.config import schema
from transformer.data.tokenization import special_tokens
from transformer.data.tokenizer_training import train_tokenizer
from transformer.training.devices import data_mesh
from transformer.training.models import abstract_model
from transformer.training.run import Run

TEXTS = ["the cat purrs", "a dog barks at the cat", "fins and scales in the water", "the old house near the water"]
SUMMARY = {
    "best_step": 7,
    "steps": 1234,
    "validation": {"accuracy": 0.5, "macro_f1": 0.25, "loss": 1.0},
    "test": None,
    "parameters": {"total": 4321, "without_embeddings": 1},
    "tokens": {"real": 98765, "computed": 1},
    "examples": {"train": 5485, "validation": 610},
    "test_rows_in_train": 0,
}
ENVIRONMENT = {"command": ["train.py", "a config.yaml"], "commit": "0123abc", "python": "3.13.0", "packages": {"jax": "0.12.0"}}


@pytest.fixture
def symbols_are_sizes():
    """Shape checks know no sizes but numbers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def make_run(tmp_path):
    """Makes what `load_run` gives, all parameters being random: (settings of the model, labels, figures, tokenizer, others) -> Run."""

    def make(model, *, labels=("a", "b", "c"), summary=(), tokenizer=None, **settings):
        data = {"source": {"kind": "files", "train": [{"path": "rows.jsonl"}]}, "maximum_length": 24} | settings.pop("data", {})
        config = schema.Config.model_validate(
            {"name": "made", "data": data, "model": {"width": 16, "layers": 2} | model, "training": {"metric": "loss"}} | settings
        )
        tokenizer = tokenizer or train_tokenizer(schema.TrainedTokenizer(vocabulary_size=64, minimum_frequency=1), TEXTS)
        labels = list(labels) if isinstance(config.objective, schema.Classification) else []
        directory = tmp_path / "run"
        directory.mkdir(exist_ok=True)
        (directory / "summary.json").write_text(json.dumps(SUMMARY | dict(summary)))
        (directory / "environment.json").write_text(json.dumps(ENVIRONMENT))
        graph, abstract = abstract_model(config, tokenizer, labels)
        generator = np.random.default_rng(0)
        parameters = jax.tree.map(lambda leaf: jnp.asarray(generator.normal(0, 0.3, leaf.shape), jnp.float32), abstract)
        return Run(directory, config, tokenizer, special_tokens(tokenizer), labels, parameters, graph, data_mesh(8))

    return make


@pytest.fixture(scope="session")
def roberta_tokenizer():
    """One like RoBERTa's: byte-level BPE, <pad> at 1, a space that belongs to the mask, and two </s> between texts that have no types."""
    names = ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer
