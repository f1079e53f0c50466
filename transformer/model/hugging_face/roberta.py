"""RoBERTa (Liu et al. 2019) as the transformers library stores it: a BERT whose positions are counted from behind the padding's index.

The library gives the position `padding` + 1 to a text's first token, so its table has `padding` + 1 rows that no token uses. All tokens
have the type 0, whose vector is added to that of each position on reading; on writing, the type's vector is zeros.
"""

from typing import Any

import numpy as np

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.model.hugging_face import bert
from transformer.model.hugging_face.layout import Correspondence, Kind, Layout, linear, norm, require, required, same


def read_architecture(config: dict[str, Any]) -> dict[str, Any]:
    """Values for `schema.Transformer`."""
    # The head that tells tokens has a GELU whatever the layers have.
    require(config, {"hidden_act": ["gelu"]})
    values = bert.read_architecture(config)
    return values | {"maximum_positions": values["maximum_positions"] - _first_position(config), "token_types": 0}


def write_architecture(model: schema.Transformer, config: dict[str, Any]) -> dict[str, Any]:
    """Settings of config.json that are RoBERTa's own."""
    positions = config["max_position_embeddings"] + _first_position(config)
    return bert.write_architecture(model, config) | {"max_position_embeddings": positions, "type_vocab_size": 1}


def obstacles(model: schema.Transformer, kind: Kind, types: int) -> list[str]:
    """What else a model has to be trained with."""
    return [*bert.obstacles(model, kind, types), *required(model, {"activation": ["gelu"]})]


def encoder(config: dict[str, Any]) -> list[Correspondence]:
    """The encoder's parameters."""
    unused = _first_position(config)

    def read(positions: np.ndarray, types: np.ndarray) -> list[np.ndarray]:
        if types.shape[1:] != positions.shape[1:]:  # which may be such that they can be added nevertheless
            raise ValueError
        return [positions[unused:] + types[0]]

    def write(positions: np.ndarray) -> list[np.ndarray]:
        return [np.pad(positions, ((unused, 0), (0, 0))), np.zeros((1, positions.shape[1]), np.float32)]

    tables = ("roberta.embeddings.position_embeddings.weight", "roberta.embeddings.token_type_embeddings.weight")
    return [
        same("encoder.embedding.tokens", "roberta.embeddings.word_embeddings.weight"),
        Correspondence(("encoder.embedding.positions",), tables, read, write),
        *norm("encoder.embedding_norm", "roberta.embeddings.LayerNorm"),
        *bert.layers(config, "roberta."),
    ]


def _first_position(config: dict[str, Any]) -> int:
    padding = config.get("pad_token_id", 1)
    if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
        raise UsageError(f"config.json has pad_token_id = {padding!r}, which should be a whole number from 0; positions count from it")
    return padding + 1


ROBERTA = Layout(
    model_type="roberta",
    prefix="roberta.",
    classes={
        "classification": "RobertaForSequenceClassification",
        "masked_language_model": "RobertaForMaskedLM",
        "encoder": "RobertaModel",
    },
    read_architecture=read_architecture,
    write_architecture=write_architecture,
    optional=bert.OPTIONAL,
    obstacles=obstacles,
    encoder=encoder,
    hidden=linear("hidden.dense", "classifier.dense"),
    classifier=linear("head", "classifier.out_proj"),
    language_model=[
        *linear("head.dense", "lm_head.dense"),
        *norm("head.norm", "lm_head.layer_norm"),
        same("head.bias", "lm_head.bias"),
    ],
    pooler="roberta.pooler.dense",
)
