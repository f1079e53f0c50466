"""ModernBERT (Warner et al. 2024) as the transformers library stores it."""

from typing import Any

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.model.feed_forward import inner_width
from transformer.model.hugging_face.layout import Correspondence, Kind, Layout, fused, linear, norm, require, required, same, setting

GLOBAL, LOCAL = "full_attention", "sliding_attention"
BASES = {GLOBAL: 160000.0, LOCAL: 10000.0}


def read_architecture(config: dict[str, Any]) -> dict[str, Any]:
    """Values for `schema.Transformer`."""
    biases = {name: [False] for name in ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias")}
    require(
        config,
        {
            "hidden_activation": ["gelu"],
            "classifier_activation": ["gelu"],
            "classifier_pooling": ["cls", "mean"],
            "decoder_bias": [True],
            "rope_scaling": [None],
            **biases,
        },
    )
    inner = setting(config, "intermediate_size")
    if inner % 8:
        raise UsageError(f"config.json has intermediate_size = {inner}; only multiples of 8 are supported for a model of type 'modernbert'")
    layers = setting(config, "num_hidden_layers")
    every = _global_every(config, layers)
    return {
        "width": setting(config, "hidden_size"),
        "layers": layers,
        "heads": setting(config, "num_attention_heads"),
        # Ours is that of a sublayer without a gate that has as many parameters.
        "feed_forward": inner * 3 // 2,
        "activation": "geglu",
        "norm_position": "pre",
        "norm": "layer",
        "embedding_norm": True,
        "positions": "rotary",
        "token_types": 0,
        "rotary_base": _base(config, GLOBAL),
        "local_rotary_base": _base(config, LOCAL),
        "local_window": None if every == 1 else _window(config),
        "global_every": every,
        "bias": False,
        "pooling": ["mean" if config.get("classifier_pooling") == "mean" else "first"],
        "head": "gelu_norm",
    }


def _global_every(config: dict[str, Any], layers: int) -> int:
    kinds = config.get("layer_types")
    if kinds is None:
        every: int = config.get("global_attn_every_n_layers", 3)
        return every
    for every in range(1, layers + 1):
        if kinds == _layer_types(layers, every):
            return every
    raise UsageError(f"config.json has layer_types = {kinds}; supported are the first layer and every so many-th from there {GLOBAL!r}")


def _window(config: dict[str, Any]) -> int:
    # Theirs counts the tokens to both sides.
    return max(setting({"local_attention": 128} | config, "local_attention") // 2, 1)


def _layer_types(layers: int, every: int) -> list[str]:
    return [LOCAL if index % every else GLOBAL for index in range(layers)]


def _base(config: dict[str, Any], kind: str) -> float:
    by_kind = config.get("rope_parameters") or {}
    parameters = (by_kind.get(kind) or {}) if isinstance(by_kind, dict) else by_kind
    if not isinstance(parameters, dict):
        raise UsageError(f"config.json has rope_parameters = {by_kind!r}, which should be an object for each kind of layer; fetch it again")
    require(parameters | {"model_type": "modernbert"}, {"rope_type": ["default"]})
    if "rope_theta" not in parameters and kind == LOCAL and config.get("local_rope_theta", BASES[LOCAL]) is None:
        return _base(config, GLOBAL)  # as version 4 of the library reads null
    older = config.get({GLOBAL: "global_rope_theta", LOCAL: "local_rope_theta"}[kind])
    base: float = parameters.get("rope_theta", BASES[kind] if older is None else older)
    return base


def write_architecture(model: schema.Transformer, config: dict[str, Any]) -> dict[str, Any]:
    """Settings of config.json that are ModernBERT's own, as both version 4 and version 5 of the library name them."""
    every = 1 if model.local_window is None else model.global_every or 1
    bases = {GLOBAL: model.rotary_base, LOCAL: model.local_rotary_base or model.rotary_base}
    return {
        "hidden_size": model.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "intermediate_size": inner_width(model.feed_forward, model.activation),
        "hidden_activation": "gelu",
        "classifier_activation": "gelu",
        "classifier_pooling": "mean" if model.pooling == ["mean"] else "cls",
        "classifier_dropout": model.dropout,
        "embedding_dropout": model.dropout,
        "mlp_dropout": model.dropout,
        "attention_dropout": model.attention_dropout,
        "attention_bias": False,
        "mlp_bias": False,
        "norm_bias": False,
        "classifier_bias": False,
        "decoder_bias": True,
        "norm_eps": model.norm_epsilon,
        "local_attention": 2 * (model.local_window or config["max_position_embeddings"]),
        "global_attn_every_n_layers": every,
        "layer_types": _layer_types(model.layers, every),
        "global_rope_theta": bases[GLOBAL],
        "local_rope_theta": bases[LOCAL],
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()},
        "cls_token_id": config["bos_token_id"],
        "sep_token_id": config["eos_token_id"],
    }


def obstacles(model: schema.Transformer, kind: Kind, types: int) -> list[str]:
    """What else a model has to be trained with."""
    settings: dict[str, list[Any]] = {
        "norm": ["layer"],
        "embedding_norm": [True],
        "positions": ["rotary"],
        "bias": [False],
        "activation": ["geglu"],
    }
    if model.local_window is not None and model.global_every is None:
        settings["global_every"] = [3]
    if kind == "classification":
        settings |= {"head": ["gelu_norm"], "pooling": [["first"], ["mean"]]}
    return required(model, settings) + (["model.token_types=0"] if types else [])


def encoder(config: dict[str, Any]) -> list[Correspondence]:
    """The encoder's parameters."""
    result = [
        same("encoder.embedding.tokens", "model.embeddings.tok_embeddings.weight"),
        *norm("encoder.embedding_norm", "model.embeddings.norm", bias=False),
        *norm("encoder.final_norm", "model.final_norm", bias=False),
    ]
    for index in range(config["num_hidden_layers"]):
        ours, theirs = f"encoder.layers.{index}", f"model.layers.{index}"
        result += [
            *fused([f"{ours}.attention.{name}" for name in ("query", "key", "value")], f"{theirs}.attn.Wqkv"),
            *linear(f"{ours}.attention.output", f"{theirs}.attn.Wo", bias=False),
            *fused([f"{ours}.feed_forward.{name}" for name in ("gate", "inner")], f"{theirs}.mlp.Wi"),
            *linear(f"{ours}.feed_forward.output", f"{theirs}.mlp.Wo", bias=False),
            *(norm(f"{ours}.attention_norm", f"{theirs}.attn_norm", bias=False) if index else []),
            *norm(f"{ours}.feed_forward_norm", f"{theirs}.mlp_norm", bias=False),
        ]
    return result


MODERNBERT = Layout(
    model_type="modernbert",
    prefix="model.",
    classes={
        "classification": "ModernBertForSequenceClassification",
        "masked_language_model": "ModernBertForMaskedLM",
        "encoder": "ModernBertModel",
    },
    read_architecture=read_architecture,
    write_architecture=write_architecture,
    optional={"norm_epsilon": ("norm_eps", 1e-5), "dropout": ("mlp_dropout", 0.0), "attention_dropout": ("attention_dropout", 0.0)},
    obstacles=obstacles,
    encoder=encoder,
    hidden=[*linear("hidden.dense", "head.dense", bias=False), *norm("hidden.norm", "head.norm", bias=False)],
    classifier=linear("head", "classifier"),
    language_model=[
        *linear("head.dense", "head.dense", bias=False),
        *norm("head.norm", "head.norm", bias=False),
        same("head.bias", "decoder.bias"),
    ],
)
