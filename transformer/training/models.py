"""The model of a config: its structure, and its first parameters."""

import jax
from flax import nnx
from jaxtyping import Key
from tokenizers import Tokenizer

from transformer.config import schema
from transformer.model.build import Sizes, build_classifier, build_ensemble, build_masked_language_model, build_sentence_embedder
from transformer.model.parameter_paths import names_on_path
from transformer.training.objective import Parameters


def abstract_model(config: schema.Config, tokenizer: Tokenizer, labels: list[str]) -> tuple[nnx.GraphDef[nnx.Module], Parameters]:
    """The model's structure and the shapes of its parameters, without any memory for them."""
    model: nnx.Module = nnx.eval_shape(lambda: _build(config, tokenizer, labels, jax.random.key(0)))
    graph, parameters = nnx.split(model)
    return graph, parameters


def initial_model(config: schema.Config, tokenizer: Tokenizer, labels: list[str]) -> tuple[nnx.GraphDef[nnx.Module], Parameters]:
    """The model's structure and its first parameters, a function of the config and its seed."""
    graph, _ = abstract_model(config, tokenizer, labels)
    # One compiled program, the same for every seed; drawn one by one, each parameter would be compiled by itself.
    return graph, jax.jit(lambda key: nnx.state(_build(config, tokenizer, labels, key)))(jax.random.key(config.seed))


def _build(config: schema.Config, tokenizer: Tokenizer, labels: list[str], key: Key[jax.Array, ""]) -> nnx.Module:
    sizes: Sizes = {
        "vocabulary_size": tokenizer.get_vocab_size(),
        "maximum_length": config.data.maximum_length,
        "pairs": len(config.data.text) == 2,
    }
    match config.objective:
        case schema.Classification(members=1):
            return build_classifier(config.model, classes=len(labels), key=key, **sizes)
        case schema.Classification(members=members):
            return build_ensemble(config.model, members=members, classes=len(labels), key=key, **sizes)
        case schema.MaskedLanguageModel():
            assert isinstance(config.model, schema.Transformer)
            return build_masked_language_model(config.model, key=key, **sizes)
        case schema.Contrastive():
            return build_sentence_embedder(config.model, key=key, **sizes)


def count_parameters(parameters: Parameters) -> dict[str, int]:
    """Number of parameters in all, and without the embeddings."""
    total = without = 0
    for path, leaf in jax.tree_util.tree_flatten_with_path(parameters)[0]:
        total += leaf.size
        if "embedding" not in names_on_path(path):
            without += leaf.size
    return {"total": total, "without_embeddings": without}
