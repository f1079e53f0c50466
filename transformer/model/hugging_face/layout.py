"""How an architecture of the transformers library is laid out: which of its tensors, transformed how, are which parameters of ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from transformer.config import schema
from transformer.config.errors import UsageError

Kind = Literal["classification", "masked_language_model", "encoder"]
"""What stands on an encoder; nothing, for `encoder`."""
Tensors = Mapping[str, np.ndarray]
Transform = Callable[..., Sequence[np.ndarray]]

ACTIVATIONS: dict[str, Literal["relu", "gelu", "gelu_tanh"]] = {
    "gelu": "gelu",
    "relu": "relu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
"""Their names of activations without a gate, and ours."""
THEIR_ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "gelu_tanh": "gelu_pytorch_tanh"}


@dataclass(frozen=True)
class Correspondence:
    """Parameters of ours, and the tensors of theirs that say the same."""

    ours: tuple[str, ...]
    """Paths, such as `encoder.layers.0.attention.query.weight`."""
    theirs: tuple[str, ...]
    read: Transform
    """From theirs, in this order, to ours."""
    write: Transform
    """From ours to theirs."""


def same(ours: str, theirs: str) -> Correspondence:
    """A parameter that is stored as it is."""
    return Correspondence((ours,), (theirs,), lambda array: [array], lambda array: [array])


def linear(ours: str, theirs: str, *, bias: bool = True) -> list[Correspondence]:
    """A linear layer; PyTorch has its weights as [outputs, inputs]."""
    weight = Correspondence((f"{ours}.weight",), (f"{theirs}.weight",), lambda array: [array.T], lambda array: [array.T])
    return [weight, same(f"{ours}.bias", f"{theirs}.bias")] if bias else [weight]


def fused(ours: Sequence[str], theirs: str) -> list[Correspondence]:
    """Linear layers without bias that are stored as one, their outputs one after the other."""
    return [
        Correspondence(
            tuple(f"{name}.weight" for name in ours),
            (f"{theirs}.weight",),
            lambda array: np.split(array.T, len(ours), axis=1),
            lambda *arrays: [np.concatenate(arrays, axis=1).T],
        )
    ]


def norm(ours: str, theirs: str, *, bias: bool = True) -> list[Correspondence]:
    """A LayerNorm."""
    return [same(f"{ours}.scale", f"{theirs}.weight"), *([same(f"{ours}.bias", f"{theirs}.bias")] if bias else [])]


@dataclass(frozen=True)
class Layout:
    """One architecture. Tensors are named as in the library's models with a head, where the encoder's names have a prefix."""

    model_type: str
    """The architecture's name in config.json."""
    prefix: str
    """What stands before the encoder's tensors, and is missing where nothing stands on the encoder."""
    classes: dict[Kind, str]
    """The library's classes."""
    read_architecture: Callable[[dict[str, Any]], dict[str, Any]]
    """From config.json to values for `schema.Transformer`, but for the optional ones; raises UsageError for what has no place there."""
    write_architecture: Callable[[schema.Transformer, dict[str, Any]], dict[str, Any]]
    """The other way, for a model without obstacles; the second argument has what every architecture's config.json has."""
    optional: dict[str, tuple[str, float]]
    """Settings of ours that config.json may leave out: their name there, and what they are then."""
    obstacles: Callable[[schema.Transformer, Kind, int], list[str]]
    """Overrides (`model.head=tanh`) without which a model of that kind, with so many token types, has no place in this layout."""
    encoder: Callable[[dict[str, Any]], list[Correspondence]]
    """The encoder's parameters, given config.json."""
    hidden: list[Correspondence]
    """The classifier's hidden layer."""
    classifier: list[Correspondence]
    """The classifier's last layer."""
    language_model: list[Correspondence]
    """The head that tells tokens."""
    pooler: str | None = None
    """A linear layer [width, width] on the first state that the library expects where nothing else stands on the encoder."""

    def head(self, kind: Kind) -> list[list[Correspondence]]:
        """What stands on an encoder, in parts that are there or not."""
        match kind:
            case "classification":
                return [self.hidden, self.classifier]
            case "masked_language_model":
                return [self.language_model]
            case "encoder":
                return []


def setting(config: dict[str, Any], name: str) -> int:
    """A size that config.json must have. Raises UsageError where it is missing or no whole number above 0."""
    if name not in config:
        raise UsageError(f"config.json has no {name!r}, which a model of type {config.get('model_type')!r} needs; is the file complete?")
    size = config[name]
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UsageError(f"config.json has {name} = {size!r}, which should be a whole number above 0; fetch it again")
    return size


def require(config: dict[str, Any], supported: Mapping[str, Sequence[Any]]) -> None:
    """Raise UsageError where a setting that config.json has is not among those supported."""
    for name, values in supported.items():
        if name in config and config[name] not in values:
            listed = " or ".join(repr(value) for value in values)
            raise UsageError(
                f"config.json has {name} = {config[name]!r}, which is not supported for a model of type {config.get('model_type')!r}; "
                f"supported is {listed}"
            )


def required(model: schema.Transformer, settings: Mapping[str, Sequence[Any]]) -> list[str]:
    """Overrides that give each setting of `model` one of the values listed, the first, where it has another."""
    return [f"model.{name}={_written(values[0])}" for name, values in settings.items() if getattr(model, name) not in values]


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{','.join(value)}]" if isinstance(value, list) else str(value)
