"""Start from trained weights: a run of this project, or a model in the Hugging Face layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import ValidationError

from transformer.config import schema
from transformer.config.document import Document, Place
from transformer.config.errors import UsageError
from transformer.config.load import load_config
from transformer.config.messages import explain
from transformer.data.pretrained import locate_weights, read_config, read_safetensors, tell_of_own_code
from transformer.model.hugging_face import read_architecture, read_parameters
from transformer.model.low_rank import merge_low_rank
from transformer.model.parameter_paths import flat, layers_apart, nested
from transformer.training.objective import Parameters
from transformer.training.run import load_run

ARCHITECTURE = (
    "width layers heads feed_forward activation norm_position norm norm_epsilon embedding_norm positions maximum_positions token_types "
    "rotary_base local_rotary_base local_window global_every bias"
).split()
"""Settings of `schema.Transformer` that the weights decide."""
DEFAULTS = ("dropout", "attention_dropout", "pooling", "head")
"""Settings that come with the weights, and that a config may change."""


def complete_config(config: schema.Config, tell: Callable[[str], None]) -> schema.Config:
    """The config with the architecture and the tokenizer of `model.initialize_from` made explicit; without such, the same.

    Raises:
        UsageError: the weights cannot be found or read, or the config asks for another architecture or tokenizer than theirs.
    """
    model = config.model
    if not isinstance(model, schema.Transformer) or model.initialize_from is None:
        return config
    directory = locate_weights(model.initialize_from, tell)
    theirs = _architecture(model.initialize_from, directory, tell)
    asked = {name: getattr(model, name) for name in model.model_fields_set}
    for name in ARCHITECTURE:
        if name in asked and name in theirs and asked[name] != theirs[name]:
            raise UsageError(
                f"model.{name} is {asked[name]}, and the weights of model.initialize_from ({directory}) have {theirs[name]}; "
                f"leave model.{name} out"
            )
    if model.scan_layers:
        raise UsageError("model.scan_layers does not go with model.initialize_from yet; leave it out")
    if "tokenizer" in config.model_fields_set and not isinstance(config.tokenizer, schema.PretrainedTokenizer):
        raise UsageError("weights know the tokens of their own tokenizer only; leave `tokenizer` out, or say tokenizer.kind=pretrained")
    if theirs.get("positions") == "learned" and config.data.maximum_length > theirs["maximum_positions"]:
        raise UsageError(
            f"data.maximum_length {config.data.maximum_length} is more than the {theirs['maximum_positions']} positions that weights in "
            f"{directory} have learned; set data.maximum_length={theirs['maximum_positions']}"
        )
    try:
        complete = schema.Transformer.model_validate({**theirs, **asked})
    except ValidationError as error:
        document = Document({}, {(): Place("model")})
        raise UsageError("\n".join(explain(each, document, schema.Transformer) for each in error.errors())) from error
    return config.model_copy(update={"model": complete, "tokenizer": schema.PretrainedTokenizer()})


def complete_as_stored(config: schema.Config, stored: schema.Config) -> schema.Config:
    """The config of a run that has begun, with what `complete_config` made explicit then.

    What else differs from the stored config stays as it is, to be told by `check_directory`.
    """
    model = config.model
    if not isinstance(model, schema.Transformer) or model.initialize_from is None or not isinstance(stored.model, schema.Transformer):
        return config
    explicit = {name: getattr(stored.model, name) for name in (*ARCHITECTURE, *DEFAULTS) if name not in model.model_fields_set}
    tokenizer = config.tokenizer if "tokenizer" in config.model_fields_set else stored.tokenizer
    return config.model_copy(update={"model": model.model_copy(update=explicit), "tokenizer": tokenizer})


def without_start_weights(config: schema.Config) -> schema.Config:
    """A complete config of the same model, whose first parameters are drawn."""
    if config.model.start_weights is None:
        return config
    return config.model_copy(update={"model": config.model.model_copy(update={"initialize_from": None})})


def _architecture(source: schema.Weights, directory: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    if not isinstance(source, schema.RunWeights):
        config = read_config(directory)
        values = read_architecture(config)
        tell_of_own_code(directory, config, tell)
        return values
    trained = load_config(directory / "config.yaml")
    if not isinstance(trained.model, schema.Transformer):
        raise UsageError(
            f"the run in {directory} trained a model of kind {trained.model.kind}; only those of kind transformer can be gone on from"
        )
    known = {name: getattr(trained.model, name) for name in (*ARCHITECTURE, *DEFAULTS)}
    if known["positions"] == "learned":
        known["maximum_positions"] = known["maximum_positions"] or trained.data.maximum_length
    known["token_types"] = (2 if len(trained.data.text) == 2 else 0) if known["token_types"] is None else known["token_types"]
    return known


def initialize(config: schema.Config, parameters: Parameters, tell: Callable[[str], None]) -> Parameters:
    """First parameters with the weights of `model.initialize_from` in place of those that were drawn; the others stay.

    From a run come those of the encoder and, where the objective is the same, those of what stands on it too, as far as they fit. The
    members of an ensemble begin with the same weights, but for what was drawn. `tell` is told where that is a language model's head, or
    a classifier's hidden layer.

    Args:
        config: a complete one (see `complete_config`).

    Raises:
        UsageError: the weights do not fit the model.
    """
    weights = config.model.start_weights
    if weights is None:
        return parameters
    directory = locate_weights(weights, tell)
    drawn = nnx.to_pure_dict(parameters)
    members = drawn.get("members", {0: drawn})
    if isinstance(weights, schema.RunWeights):
        found = _run_parameters(directory, config.objective, members[0])
    else:
        found = read_parameters(read_config(directory), read_safetensors(directory), members[0])
    if isinstance(config.objective, schema.Classification):
        # A classifier's last layer belongs to its labels.
        found.pop("head", None)
        part, what = "hidden", "hidden layer that fits this classifier"
    else:
        part, what = "head", "head that predicts tokens"
    if part in members[0] and part not in found:
        tell(f"{directory} has no {what}; it is learned anew")
    begun = {number: _over(member, found, directory) for number, member in members.items()}
    nnx.replace_by_pure_dict(parameters, {"members": begun} if "members" in drawn else begun[0])
    return parameters


def _run_parameters(directory: Path, objective: schema.Objective, drawn: dict[str, Any]) -> dict[str, Any]:
    run = load_run(directory)
    run.require_one_model("another training begins with")
    found: dict[str, Any] = nnx.to_pure_dict(run.parameters)
    adapters = run.config.model.adapters
    encoder = found.pop("encoder") if adapters is None else merge_low_rank(found.pop("encoder"), adapters)
    same = run.config.objective.kind == objective.kind
    # With another pooling, what stands on the encoder has other shapes, and is learned anew.
    above = {name: part for name, part in found.items() if same and name in drawn and _shapes(part) == _shapes(drawn[name])}
    return above | nested(layers_apart(flat({"encoder": encoder})))


def _shapes(part: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {path: np.shape(leaf) for path, leaf in flat(part).items()}


def _over(drawn: dict[Any, Any], found: dict[Any, Any], directory: Path, prefix: str = "") -> dict[Any, Any]:
    result = {}
    for name, value in drawn.items():
        path = f"{prefix}{name}"
        if name not in found:
            if path.startswith("encoder.") and name != "low_rank":
                raise UsageError(f"{directory} has no {path}, which this model's encoder needs; start from other weights")
            result[name] = value
        elif isinstance(value, dict):
            result[name] = _over(value, found[name], directory, f"{path}.")
        elif np.shape(found[name]) != np.shape(value):
            raise UsageError(f"{path} in {directory} has shape {np.shape(found[name])}, and this model's is {np.shape(value)}")
        else:
            # A copy for each member of an ensemble: the training step is given its buffers to overwrite.
            result[name] = jnp.array(found[name], jnp.float32)
    return result
