"""DistilBERT (Sanh et al. 2019) as the transformers library stores it."""

from typing import Any

from transformer.config import schema
from transformer.model.hugging_face import bert
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

EPSILON = 1e-12
"""That of every norm; config.json has no place for it."""


def read_architecture(config: dict[str, Any]) -> dict[str, Any]:
    """Values for `schema.Transformer`."""
    require(config, {"activation": list(ACTIVATIONS), "pruned_heads": [{}, None]})
    return {
        "width": setting(config, "dim"),
        "layers": setting(config, "n_layers"),
        "heads": setting(config, "n_heads"),
        "feed_forward": setting(config, "hidden_dim"),
        "activation": ACTIVATIONS[config.get("activation", "gelu")],
        "norm_position": "post",
        "norm": "layer",
        "norm_epsilon": EPSILON,
        "embedding_norm": True,
        "positions": "learned",
        "maximum_positions": setting(config, "max_position_embeddings"),
        "token_types": 0,
        "bias": True,
        "pooling": ["first"],
        "head": "relu",
    }


def write_architecture(model: schema.Transformer, config: dict[str, Any]) -> dict[str, Any]:
    """Settings of config.json that are DistilBERT's own."""
    return {
        "dim": model.width,
        "n_layers": model.layers,
        "n_heads": model.heads,
        "hidden_dim": model.feed_forward,
        "activation": THEIR_ACTIVATIONS[model.activation],
        "dropout": model.dropout,
        "attention_dropout": model.attention_dropout,
        "seq_classif_dropout": model.dropout,
        "sinusoidal_pos_embds": False,
    }


def obstacles(model: schema.Transformer, kind: Kind, types: int) -> list[str]:
    """What else a model has to be trained with."""
    classifier: dict[str, list[Any]] = {"pooling": [["first"]]} if kind == "classification" else {}
    return required(model, bert.POST_NORM | {"norm_epsilon": [EPSILON]} | classifier)


def encoder(config: dict[str, Any]) -> list[Correspondence]:
    """The encoder's parameters."""
    result = [
        same("encoder.embedding.tokens", "distilbert.embeddings.word_embeddings.weight"),
        same("encoder.embedding.positions", "distilbert.embeddings.position_embeddings.weight"),
        *norm("encoder.embedding_norm", "distilbert.embeddings.LayerNorm"),
    ]
    for index in range(config["n_layers"]):
        ours, theirs = f"encoder.layers.{index}", f"distilbert.transformer.layer.{index}"
        result += [
            *linear(f"{ours}.attention.query", f"{theirs}.attention.q_lin"),
            *linear(f"{ours}.attention.key", f"{theirs}.attention.k_lin"),
            *linear(f"{ours}.attention.value", f"{theirs}.attention.v_lin"),
            *linear(f"{ours}.attention.output", f"{theirs}.attention.out_lin"),
            *norm(f"{ours}.attention_norm", f"{theirs}.sa_layer_norm"),
            *linear(f"{ours}.feed_forward.inner", f"{theirs}.ffn.lin1"),
            *linear(f"{ours}.feed_forward.output", f"{theirs}.ffn.lin2"),
            *norm(f"{ours}.feed_forward_norm", f"{theirs}.output_layer_norm"),
        ]
    return result


DISTILBERT = Layout(
    model_type="distilbert",
    prefix="distilbert.",
    classes={
        "classification": "DistilBertForSequenceClassification",
        "masked_language_model": "DistilBertForMaskedLM",
        "encoder": "DistilBertModel",
    },
    read_architecture=read_architecture,
    write_architecture=write_architecture,
    optional={"dropout": ("dropout", 0.1), "attention_dropout": ("attention_dropout", 0.1)},
    obstacles=obstacles,
    encoder=encoder,
    hidden=linear("hidden.dense", "pre_classifier"),
    classifier=linear("head", "classifier"),
    language_model=[
        *linear("head.dense", "vocab_transform"),
        *norm("head.norm", "vocab_layer_norm"),
        same("head.bias", "vocab_projector.bias"),
    ],
)
