"""From the transformers library's config.json and tensors to our settings and parameters."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from transformer.config import schema
from transformer.config.document import Document, Key, Place
from transformer.config.errors import UsageError
from transformer.config.messages import explain
from transformer.model.hugging_face.architectures import LAYOUTS
from transformer.model.hugging_face.layout import Correspondence, Kind, Layout, Tensors
from transformer.model.parameter_paths import flat, nested

TABLES = {"encoder.embedding.tokens", "encoder.embedding.positions"}
"""Parameters with a row for each token or position."""
SAME_MODEL = "check that config.json, the tokenizer and the weights are of the same model"
FLOATS = {"float16", "bfloat16", "float32", "float64"}

Shapes = dict[str, tuple[int, ...]]


def read_architecture(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of `schema.Transformer` that a parsed config.json decides.

    Raises UsageError for an architecture, or a setting of one, that is not supported, and says what is; and for settings that no model
    can have.
    """
    layout = _layout(config)
    if config.get("quantization_config") is not None:
        raise UsageError("config.json has a quantization_config: the weights are quantized; take those in float32, float16 or bfloat16")
    optional = {ours: config.get(theirs, default) for ours, (theirs, default) in layout.optional.items()}
    values = layout.read_architecture(config) | optional
    try:
        schema.Transformer.model_validate(values, strict=True)
    except ValidationError as error:
        places: dict[Key, Place] = {(ours,): Place(f"config.json, {theirs}") for ours, (theirs, _) in layout.optional.items()}
        document = Document(values, {(): Place("config.json")} | places)
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
        a language model's `head` if the file has one; and a classifier's `hidden` and `head`, each if the file has it with these shapes.

    Raises UsageError naming tensors of the encoder, or of a language model's head that is not missing as a whole, that are missing, have
    other shapes, or are quantized.
    """
    layout = _layout(config)
    shapes: Shapes = {path: leaf.shape for path, leaf in flat(wanted).items() if "low_rank" not in path.split(".")}
    kind = _kind(shapes)
    if kind == "masked_language_model" and config.get("tie_word_embeddings") is False:
        raise UsageError("config.json has tie_word_embeddings = false; only heads that share the token embeddings are supported")
    tables = TABLES | ({"head.bias"} if kind == "masked_language_model" else set())
    file = _File(layout, tensors, shapes, tables & shapes.keys())
    found = file.read_whole([part for part in layout.encoder(config) if any(path in shapes for path in part.ours)])
    if unknown := [path for path in shapes if path.startswith("encoder.") and path not in found]:
        raise UsageError(
            f"weights of type {layout.model_type} have no {_listed(unknown)}, which this model has; leave the settings of `model` that "
            "tell the architecture out, so that the weights tell them"
        )
    return nested(found | _read_head(layout, kind, file, shapes))


def _read_head(layout: Layout, kind: Kind, file: "_File", shapes: Shapes) -> dict[str, np.ndarray]:
    if kind == "masked_language_model":
        # In ModernBERT the other tensors are also those of a classifier's hidden layer.
        own = set(_names(layout.language_model)) - set(_names(layout.hidden))
        return file.read_whole(layout.language_model) if any(file.has([name]) for name in own) else {}
    found: dict[str, np.ndarray] = {}
    for part in layout.head(kind):
        arrays = file.read(part) if file.has(_names(part)) else {}
        if all(shapes.get(path) == array.shape for path, array in arrays.items()):
            found |= arrays
    return found


def _names(part: Sequence[Correspondence]) -> list[str]:
    return [name for correspondence in part for name in correspondence.theirs]


def _layout(config: dict[str, Any]) -> Layout:
    if (layout := LAYOUTS.get(str(config.get("model_type")))) is None:
        raise UsageError(
            f"config.json has model_type = {config.get('model_type')!r}, which is not supported; supported are {', '.join(LAYOUTS)}"
            + ('; if it is a BERT, write "model_type": "bert" into config.json' if config.get("model_type") is None else "")
        )
    return layout


def _kind(shapes: Shapes) -> Kind:
    if "head.dense.weight" in shapes:
        return "masked_language_model"
    return "classification" if "head.weight" in shapes else "encoder"


class _File:
    """Tensors, found under any of the names that files have for them."""

    def __init__(self, layout: Layout, tensors: Tensors, shapes: Shapes, tables: set[str]) -> None:
        self._layout, self._tensors, self._shapes, self._tables = layout, tensors, shapes, tables

    def has(self, names: Sequence[str]) -> bool:
        return all(any(spelling in self._tensors for spelling in self._spellings(name)) for name in names)

    def read(self, part: Sequence[Correspondence]) -> dict[str, np.ndarray]:
        return {path: array for correspondence in part for path, array in self._read(correspondence).items()}

    def read_whole(self, part: Sequence[Correspondence]) -> dict[str, np.ndarray]:
        if missing := [name for name in _names(part) if not self.has([name])]:
            raise UsageError(
                f"the weights have no tensor {_listed(missing)}, which a model of type {self._layout.model_type} has; they have "
                f"{_listed(sorted(self._tensors)) or 'none at all'}; check that config.json and the weights are of the same model"
            )
        found: dict[str, np.ndarray] = {}
        for correspondence in part:
            arrays = self._read(correspondence)
            for path, array in arrays.items():
                if array.shape != self._shapes.get(path):
                    raise UsageError(
                        f"{_listed(correspondence.theirs)} of the weights makes {path} {array.shape}, and this model's is "
                        f"{self._shapes.get(path)}; {SAME_MODEL}"
                    )
            found |= arrays
        return found

    def _read(self, correspondence: Correspondence) -> dict[str, np.ndarray]:
        tensors = {name: self._tensor(name) for name in correspondence.theirs}
        try:
            arrays = dict(zip(correspondence.ours, correspondence.read(*tensors.values()), strict=True))
            return {path: array[: self._shapes[path][0]] if path in self._tables else array for path, array in arrays.items()}
        except (ValueError, IndexError) as error:
            theirs = [f"{name} {tensor.shape}" for name, tensor in tensors.items()]
            ours = [f"{path} {self._shapes.get(path)}" for path in correspondence.ours]
            raise UsageError(f"{_listed(theirs)} of the weights cannot make {_listed(ours)}; {SAME_MODEL}") from error

    def _tensor(self, name: str) -> np.ndarray:
        tensor = next(self._tensors[spelling] for spelling in self._spellings(name) if spelling in self._tensors)
        if tensor.dtype.name not in FLOATS:
            raise UsageError(f"the weights have {name} as {tensor.dtype}: they are quantized; take those in float32, float16 or bfloat16")
        return np.asarray(tensor, np.float32)

    def _spellings(self, name: str) -> Iterator[str]:
        for known in (name, name.removeprefix(self._layout.prefix)):
            yield known
            yield known.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
