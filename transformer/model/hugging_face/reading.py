"""From the transformers library's config.json and tensors to our settings and parameters."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from transformer.config import schema
from transformer.config.document import Document, Place
from transformer.config.errors import UsageError
from transformer.config.messages import explain
from transformer.model.hugging_face.architectures import LAYOUTS
from transformer.model.hugging_face.layout import Correspondence, Kind, Layout, Tensors
from transformer.model.parameter_paths import flat, nested

TABLES = {"encoder.embedding.tokens", "encoder.embedding.positions"}
"""Parameters with a row for each token or position."""

Shapes = dict[str, tuple[int, ...]]


def read_architecture(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of `schema.Transformer` that a parsed config.json decides.

    Raises UsageError for an architecture, or a setting of one, that is not supported, and says what is; and for settings that no model
    can have.
    """
    values = _layout(config).read_architecture(config)
    try:
        schema.Transformer.model_validate(values, strict=True)
    except ValidationError as error:
        document = Document(values, {(): Place("config.json")})
        raise UsageError("\n".join(explain(each, document, schema.Transformer) for each in error.errors())) from error
    return values


def read_parameters(config: dict[str, Any], tensors: Tensors, wanted: dict[str, Any]) -> dict[Any, Any]:
    """Those of a model's parameters that a file has, in float32.

    Tables may have more rows there, for tokens that the tokenizer does not know or for further positions; these are left out.

    Args:
        config: parsed config.json.
        tensors: the file's. Names may lack the prefix of the architecture (`bert.`), and norms may have `gamma` and `beta`.
        wanted: the model's parameters, or their shapes, as `nnx.to_pure_dict` gives them; layers one by one, not scanned.

    Returns:
        Nested dictionaries of arrays, keyed as those of `nnx.to_pure_dict`: all of the encoder, but for low-rank sums, which no file has;
        and each part of the head (a classifier's `hidden` and `head`, a language model's `head`) that the file has with these shapes.

    Raises UsageError naming tensors of the encoder that are missing, have other shapes, or are quantized.
    """
    layout = _layout(config)
    shapes: Shapes = {path: leaf.shape for path, leaf in flat(wanted).items() if "low_rank" not in path.split(".")}
    kind = _kind(shapes)
    if kind == "masked_language_model" and config.get("tie_word_embeddings") is False:
        raise UsageError("config.json has tie_word_embeddings = false; only heads that share the token embeddings are supported")
    tables = TABLES | ({"head.bias"} if kind == "masked_language_model" else set())
    file = _File(layout, tensors)
    found: dict[str, np.ndarray] = {}
    for correspondence in layout.encoder(config):
        if any(path in shapes for path in correspondence.ours):
            file.demand(correspondence.theirs)
            found |= _check(file.read(correspondence, shapes, tables), shapes, correspondence)
    if unknown := [path for path in shapes if path.startswith("encoder.") and path not in found]:
        raise UsageError(
            f"weights of type {layout.model_type} have no {_listed(unknown)}, which this model has; leave the settings of `model` that "
            "tell the architecture out, so that the weights tell them"
        )
    for part in layout.head(kind):
        if all(file.has(correspondence.theirs) for correspondence in part):
            read = [file.read(correspondence, shapes, tables) for correspondence in part]
            arrays = {path: array for each in read for path, array in each.items()}
            if all(shapes.get(path) == array.shape for path, array in arrays.items()):
                found |= arrays
    return nested(found)


def _layout(config: dict[str, Any]) -> Layout:
    if (layout := LAYOUTS.get(str(config.get("model_type")))) is None:
        raise UsageError(
            f"config.json has model_type = {config.get('model_type')!r}, which is not supported; supported are {', '.join(LAYOUTS)}"
        )
    return layout


def _kind(shapes: Shapes) -> Kind:
    if "head.dense.weight" in shapes:
        return "masked_language_model"
    return "classification" if "head.weight" in shapes else "encoder"


class _File:
    """Tensors, found under any of the names that files have for them."""

    def __init__(self, layout: Layout, tensors: Tensors) -> None:
        self._layout = layout
        self._tensors = tensors

    def has(self, names: Sequence[str]) -> bool:
        return all(any(spelling in self._tensors for spelling in self._spellings(name)) for name in names)

    def demand(self, names: Sequence[str]) -> None:
        if missing := [name for name in names if not self.has([name])]:
            raise UsageError(
                f"the weights have no tensor {_listed(missing)}, which a model of type {self._layout.model_type} has; they have "
                f"{_listed(sorted(self._tensors)) or 'none at all'}; check that config.json and the weights are of the same model"
            )

    def read(self, correspondence: Correspondence, shapes: Shapes, tables: set[str]) -> dict[str, np.ndarray]:
        tensors = [self._tensor(name) for name in correspondence.theirs]
        arrays = dict(zip(correspondence.ours, correspondence.read(*tensors), strict=True))
        return {path: array[: shapes[path][0]] if path in tables and path in shapes else array for path, array in arrays.items()}

    def _tensor(self, name: str) -> np.ndarray:
        tensor = next(self._tensors[spelling] for spelling in self._spellings(name) if spelling in self._tensors)
        if np.issubdtype(tensor.dtype, np.integer):
            raise UsageError(f"the weights have {name} as {tensor.dtype}: they are quantized; take those in float32, float16 or bfloat16")
        return np.asarray(tensor, np.float32)

    def _spellings(self, name: str) -> Iterator[str]:
        for known in (name, name.removeprefix(self._layout.prefix)):
            yield known
            yield known.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def _check(found: dict[str, np.ndarray], shapes: Shapes, correspondence: Correspondence) -> dict[str, np.ndarray]:
    for path, array in found.items():
        if array.shape != shapes.get(path):
            raise UsageError(
                f"{_listed(correspondence.theirs)} of the weights makes {path} {array.shape}, and this model's is {shapes.get(path)}; "
                "check that config.json, the tokenizer and the weights are of the same model"
            )
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
