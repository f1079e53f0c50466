"""BERT (Devlin et al. 2019) as the transformers library stores it."""

from typing import Any

import numpy as np

from transformer.config import schema
from transformer.model.hugging_face.layout import (
    ACTIVATIONS,
    THEIR_ACTIVATIONS,
    Correspondence,
    Kind,
    Layout,
    linear,
    norm,
    require,
    required,
    same,
    setting,
)

POST_NORM: dict[str, list[Any]] = {
    "norm_position": ["post"],
    "norm": ["layer"],
    "embedding_norm": [True],
    "positions": ["learned"],
    "bias": [True],
    "local_window": [None],
    "activation": list(THEIR_ACTIVATIONS),
}
"""Settings that BERT, RoBERTa and DistilBERT have in common, the one to recommend first."""


OPTIONAL: dict[str, tuple[str, float]] = {
    "norm_epsilon": ("layer_norm_eps", 1e-12),
    "dropout": ("hidden_dropout_prob", 0.1),
    "attention_dropout": ("attention_probs_dropout_prob", 0.1),
}
"""Settings of BERT and RoBERTa that config.json may leave out (see `Layout.optional`)."""


def read_architecture(config: dict[str, Any]) -> dict[str, Any]:
    """Values for `schema.Transformer`; the pooler is the classifier's hidden layer."""
    require(
        config,
        {
            "hidden_act": list(ACTIVATIONS),
            "position_embedding_type": ["absolute"],
            "is_decoder": [False],
            "add_cross_attention": [False],
            "pruned_heads": [{}, None],
        },
    )
    return {
        "width": setting(config, "hidden_size"),
        "layers": setting(config, "num_hidden_layers"),
        "heads": setting(config, "num_attention_heads"),
        "feed_forward": setting(config, "intermediate_size"),
        "activation": ACTIVATIONS[config.get("hidden_act", "gelu")],
        "norm_position": "post",
        "norm": "layer",
        "embedding_norm": True,
        "positions": "learned",
        "maximum_positions": setting(config, "max_position_embeddings"),
        "bias": True,
        "pooling": ["first"],
        "head": "tanh",
    }


def write_architecture(model: schema.Transformer, config: dict[str, Any]) -> dict[str, Any]:
    """Settings of config.json that are BERT's own; a model without token types gets two that add nothing."""
    return {
        "hidden_size": model.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "intermediate_size": model.feed_forward,
        "hidden_act": THEIR_ACTIVATIONS[model.activation],
        "hidden_dropout_prob": model.dropout,
        "attention_probs_dropout_prob": model.attention_dropout,
        "classifier_dropout": model.dropout,
        "layer_norm_eps": model.norm_epsilon,
        "type_vocab_size": model.token_types or 2,
    }


def obstacles(model: schema.Transformer, kind: Kind, types: int) -> list[str]:
    """What else a model has to be trained with."""
    classifier: dict[str, list[Any]] = {"head": ["tanh"], "pooling": [["first"]]} if kind == "classification" else {}
    return required(model, POST_NORM | classifier)


def encoder(config: dict[str, Any]) -> list[Correspondence]:
    """The encoder's parameters."""

    def write_types(types: np.ndarray | None) -> list[np.ndarray]:
        return [np.zeros((config["type_vocab_size"], config["hidden_size"]), np.float32) if types is None else types]

    types = "bert.embeddings.token_type_embeddings.weight"
    return [
        same("encoder.embedding.tokens", "bert.embeddings.word_embeddings.weight"),
        same("encoder.embedding.positions", "bert.embeddings.position_embeddings.weight"),
        Correspondence(("encoder.embedding.types",), (types,), lambda array: [array], write_types),
        *norm("encoder.embedding_norm", "bert.embeddings.LayerNorm"),
        *layers(config, "bert."),
    ]


def layers(config: dict[str, Any], prefix: str) -> list[Correspondence]:
    """The parameters of the layers, which are RoBERTa's too."""
    result = []
    for index in range(config["num_hidden_layers"]):
        ours, theirs = f"encoder.layers.{index}", f"{prefix}encoder.layer.{index}"
        result += [
            *linear(f"{ours}.attention.query", f"{theirs}.attention.self.query"),
            *linear(f"{ours}.attention.key", f"{theirs}.attention.self.key"),
            *linear(f"{ours}.attention.value", f"{theirs}.attention.self.value"),
            *linear(f"{ours}.attention.output", f"{theirs}.attention.output.dense"),
            *norm(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm"),
            *linear(f"{ours}.feed_forward.inner", f"{theirs}.intermediate.dense"),
            *linear(f"{ours}.feed_forward.output", f"{theirs}.output.dense"),
            *norm(f"{ours}.feed_forward_norm", f"{theirs}.output.LayerNorm"),
        ]
    return result


BERT = Layout(
    model_type="bert",
    prefix="bert.",
    classes={"classification": "BertForSequenceClassification", "masked_language_model": "BertForMaskedLM", "encoder": "BertModel"},
    read_architecture=read_architecture,
    write_architecture=write_architecture,
    optional=OPTIONAL | {"token_types": ("type_vocab_size", 2)},
    obstacles=obstacles,
    encoder=encoder,
    hidden=linear("hidden.dense", "bert.pooler.dense"),
    classifier=linear("head", "classifier"),
    language_model=[
        *linear("head.dense", "cls.predictions.transform.dense"),
        *norm("head.norm", "cls.predictions.transform.LayerNorm"),
        same("head.bias", "cls.predictions.bias"),
    ],
    pooler="bert.pooler.dense",
)
