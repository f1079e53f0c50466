"""Which competitors meet on which work. The first row of a table is what the others are measured against."""

from dataclasses import dataclass, field
from typing import Any

VOCABULARY = 8192
RANDOM_WORK = {"batch": 32, "length": 128, "vocabulary": VOCABULARY}
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"width": 128, "layers": 2, "heads": 2, "feed_forward": 512},
    "mini": {"width": 256, "layers": 4, "heads": 4, "feed_forward": 1024},
}
TEXT_LENGTH = 512
LENGTH_GROUPS = 16


@dataclass(frozen=True)
class Row:
    """A competitor: how a worker builds it, and with what. `libraries` tell which interpreters can, and which of their rows differ."""

    name: str
    build: str
    libraries: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Competitors on the same work."""

    title: str
    rows: list[Row]
    settings: dict[str, Any]
    """Settings that all rows share."""
    texts: str | None = None
    """The config whose training texts are the work; None for random tokens."""


TORCH, HUGGING_FACE, FLAX, OURS = ("torch",), ("torch", "transformers"), ("jax", "flax"), ("jax", "flax", "pydantic", "jaxtyping")
ALLOCATION = {"cheap_allocation": True}
"""The worker sets up its process as `train.py` does (`transformer.host`)."""


def ours(name: str, precision: str, work: str | None = None) -> Row:
    """This project's Transformer."""
    settings = ALLOCATION | {"precision": precision} | ({} if work is None else {"work": work})
    return Row(f"this project, {name}", "benchmarks.ours:transformer", OURS, settings)


def transformer_table(size: str, dropout: float) -> Table:
    """The Transformer's training step at equal shapes."""
    torch, flax = "benchmarks.torch_peers:transformer", "benchmarks.flax_peers:transformer"
    rows = [
        Row("PyTorch `nn.TransformerEncoder`, eager", torch, TORCH),
        Row("PyTorch, eager, memory allocated as here", torch, TORCH, ALLOCATION),
        Row("PyTorch, `torch.compile`", torch, TORCH, {"compiled": True}),
        Row("PyTorch, bfloat16 autocast", torch, TORCH, {"precision": "bfloat16"}),
        Row("PyTorch, bfloat16 autocast, `torch.compile`", torch, TORCH, {"precision": "bfloat16", "compiled": True}),
        Row("Hugging Face BERT, SDPA", "benchmarks.hugging_face_peers:bert", HUGGING_FACE),
        Row("Flax `nnx.MultiHeadAttention`, `nnx.jit`", flax, FLAX, {"split_state": False}),
        Row("Flax `nnx.MultiHeadAttention`, `jax.jit`", flax, FLAX, {"split_state": True}),
        ours("float32", "float32"),
        ours("bfloat16", "bfloat16"),
    ]
    settings = {**SIZES[size], "dropout": dropout, "vocabulary": VOCABULARY, "length": RANDOM_WORK["length"], "work": RANDOM_WORK}
    return Table(f"Transformer, {_described(size)}, dropout {dropout}, 32 × 128 tokens", rows, settings)


def lstm_table(size: str) -> Table:
    """The LSTM's training step at equal shapes."""
    shape = {"width": SIZES[size]["width"], "layers": 2}
    rows = [
        Row("PyTorch `nn.LSTM`", "benchmarks.torch_peers:lstm", TORCH),
        Row("this project, LSTM", "benchmarks.ours:lstm", OURS, {**ALLOCATION, "length": RANDOM_WORK["length"]}),
    ]
    settings = {**shape, "vocabulary": VOCABULARY, "work": RANDOM_WORK}
    return Table(f"LSTM, width {shape['width']}, 2 layers, 32 × 128 tokens", rows, settings)


def text_table(name: str, config: str, size: str) -> Table:
    """Real texts: default practice against length groups, and against default practice with this project's step."""
    bert = "benchmarks.hugging_face_peers:bert"
    random = {"work": "random_order"}
    rows = [
        Row("Hugging Face BERT, padded to the batch's longest", bert, HUGGING_FACE, random),
        Row("Hugging Face BERT, the same, bfloat16 autocast", bert, HUGGING_FACE, {**random, "precision": "bfloat16"}),
        ours("padded to the batch's longest", "float32", "random_order_64"),
        ours(f"{LENGTH_GROUPS} length groups", "float32", "grouped"),
        ours(f"{LENGTH_GROUPS} length groups, bfloat16", "bfloat16", "grouped"),
    ]
    settings = {**SIZES[size], "dropout": 0.1, "vocabulary": VOCABULARY, "length": TEXT_LENGTH}
    return Table(f"{name}, at most {TEXT_LENGTH} tokens, {_described(size)}, dropout 0.1", rows, settings, config)


def _described(size: str) -> str:
    shape = SIZES[size]
    return f"{size} (d={shape['width']} L={shape['layers']} h={shape['heads']} ff={shape['feed_forward']})"


TABLES = {
    "tiny": transformer_table("tiny", 0.0),
    "mini": transformer_table("mini", 0.0),
    "tiny-dropout": transformer_table("tiny", 0.1),
    "mini-dropout": transformer_table("mini", 0.1),
    "lstm-128": lstm_table("tiny"),
    "lstm-256": lstm_table("mini"),
    "reuters-r8": text_table("Reuters R8", "configs/reuters_r8/transformer.yaml", "tiny"),
    "newsgroups": text_table("20 Newsgroups", "configs/newsgroups/transformer.yaml", "tiny"),
}
