"""A run in the layout of the transformers library."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.data.pretrained import SEARCH_TEMPERATURE
from transformer.data.tokenization import SpecialTokens
from transformer.export.card import hugging_face_card
from transformer.export.tasks import reads_pairs, task_of
from transformer.model.hugging_face import write_model
from transformer.model.low_rank import merge_low_rank
from transformer.training.run import Run


def export_hugging_face(run: Run, directory: Path, name: str) -> None:
    """Write config, weights, tokenizer and model card into an empty directory that will have this name.

    Low-rank sums are merged into the weights they belong to.

    Raises:
        UsageError: the model, or its tokenizer, has no place in this layout; nothing was written.
    """
    config, tensors = _model(run)
    if isinstance(run.config.objective, schema.Contrastive):
        config[SEARCH_TEMPERATURE] = run.config.objective.temperature
    tokenizer = _tokenizer_config(run, with_types=config.get("type_vocab_size", 0) > 1)
    _write_json(directory / "config.json", config)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    # The library makes a file that its owner alone may read.
    shutil.copymode(directory / "config.json", directory / "model.safetensors")
    (directory / "tokenizer.json").write_text(run.tokenizer.to_str(pretty=True), encoding="utf-8")
    _write_json(directory / "tokenizer_config.json", tokenizer)
    _write_json(directory / "special_tokens_map.json", _names(run.tokenizer, run.special))
    (directory / "README.md").write_text(hugging_face_card(run, config, name), encoding="utf-8")


def _model(run: Run) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    run.require_one_model("the Hugging Face layout holds")
    model = run.config.model
    if not isinstance(model, schema.Transformer):
        raise UsageError(
            f"a model of kind {model.kind} has no place in the Hugging Face layout; export it with --format stablehlo, or train one that "
            "has, such as model.kind=transformer model.norm_position=post model.positions=learned model.embedding_norm=true "
            "model.pooling=[first] model.head=tanh"
        )
    parameters: dict[Any, Any] = nnx.to_pure_dict(run.parameters)
    if model.low_rank is not None:
        parameters = {**parameters, "encoder": merge_low_rank(parameters["encoder"], model.low_rank)}
    return write_model(
        model,
        parameters,
        kind=task_of(run.config.objective).layout,
        maximum_length=run.config.data.maximum_length,
        padding=run.special.padding,
        first=run.special.first,
        separator=run.special.separator,
        labels=run.labels,
    )


def _tokenizer_config(run: Run, *, with_types: bool) -> dict[str, Any]:
    if with_types and reads_pairs(run.config) and 1 not in run.tokenizer.encode("a", "a").type_ids:
        raise UsageError(
            "this run tells the two texts of a pair apart by their types, which its tokenizer does not give to them, and in the Hugging "
            "Face layout the tokenizer must; export it with --format stablehlo, or train from scratch with tokenizer.kind=wordpiece"
        )
    return {
        # Whatever the model's own kind of tokenizer does, this one does what tokenizer.json says.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": run.config.data.maximum_length,
        "model_input_names": ["input_ids", *(["token_type_ids"] if with_types else []), "attention_mask"],
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
        **_names(run.tokenizer, run.special),
    }


def _names(tokenizer: Tokenizer, special: SpecialTokens) -> dict[str, str]:
    indices = {
        "pad_token": special.padding,
        "unk_token": special.unknown,
        "cls_token": special.first,
        "sep_token": special.separator,
        "mask_token": special.mask,
    }
    return {name: str(tokenizer.id_to_token(index)) for name, index in indices.items()}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
