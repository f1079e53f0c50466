"""From our settings and parameters to a config.json and tensors that the transformers library loads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.model.hugging_face.architectures import LAYOUTS
from transformer.model.hugging_face.layout import Kind, Layout
from transformer.model.parameter_paths import flat, layers_apart


def write_model(
    model: schema.Transformer,
    parameters: Mapping[Any, Any],
    *,
    kind: Kind,
    maximum_length: int,
    padding: int,
    first: int,
    separator: int,
    labels: Sequence[str] = (),
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A model as config.json and tensors, which the transformers library loads with no key missing and none too many.

    A pre-norm model becomes a ModernBERT. A post-norm one without token types becomes a DistilBERT where its head is `relu` and a RoBERTa
    where it is `tanh`. Every other becomes a BERT.

    Args:
        parameters: as `nnx.to_pure_dict` gives them, low-rank sums merged.
        kind: what stands on the encoder; for `encoder`, what stands there is left out.
        maximum_length: longest text in tokens.
        padding: index of that special token, as are `first` and `separator`.
        labels: names of a classifier's classes in index order.

    Raises UsageError for a model that none of these architectures can say, with the settings to train one with that can.
    """
    ours = layers_apart({path: np.asarray(leaf, np.float32) for path, leaf in flat(parameters).items()})
    types = len(ours.get("encoder.embedding.types", ()))
    layout = _layout(model, types)
    if obstacles := layout.obstacles(model, kind, types):
        scaled = "" if model.embedding_norm else " (embeddings that are scaled and not normalized have no place in any of these layouts)"
        raise UsageError(
            f"this model cannot be written in the Hugging Face layout, where the nearest to it is {layout.model_type}; train one that can, "
            f"with {' '.join(obstacles)}{scaled}"
        )
    positions = ours.get("encoder.embedding.positions")
    config = {
        "architectures": [layout.classes[kind]],
        "model_type": layout.model_type,
        "dtype": "float32",
        "vocab_size": len(ours["encoder.embedding.tokens"]),
        "max_position_embeddings": maximum_length if positions is None else len(positions),
        "pad_token_id": padding,
        "bos_token_id": first,
        "eos_token_id": separator,
        "tie_word_embeddings": True,
    }
    config |= layout.write_architecture(model.model_copy(update={"token_types": types}), config)
    if kind == "classification":
        config["id2label"] = {str(index): label for index, label in enumerate(labels)}
        config["label2id"] = {label: index for index, label in enumerate(labels)}
        config["problem_type"] = "single_label_classification"
    return config, _tensors(layout, config, kind, ours)


def _layout(model: schema.Transformer, types: int) -> Layout:
    if model.norm_position == "pre":
        return LAYOUTS["modernbert"]
    if types == 0 and model.head in {"relu", "tanh"}:
        return LAYOUTS["distilbert" if model.head == "relu" else "roberta"]
    return LAYOUTS["bert"]


def _tensors(layout: Layout, config: dict[str, Any], kind: Kind, ours: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for part in (layout.encoder(config), *layout.head(kind)):
        for correspondence in part:
            arrays = correspondence.write(*(ours.get(path) for path in correspondence.ours))
            tensors |= dict(zip(correspondence.theirs, arrays, strict=True))
    if kind == "encoder":
        if layout.pooler is not None:
            # The library would draw one at random, and say so.
            width = ours["encoder.embedding.tokens"].shape[1]
            tensors |= {f"{layout.pooler}.weight": np.eye(width), f"{layout.pooler}.bias": np.zeros(width)}
        tensors = {name.removeprefix(layout.prefix): tensor for name, tensor in tensors.items()}
    return {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}
