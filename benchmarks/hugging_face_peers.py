"""Hugging Face's competitor, trained as PyTorch's are."""

from typing import Any

from transformers import BertConfig, BertForSequenceClassification

from benchmarks.torch_peers import competitor
from benchmarks.work import CLASSES, Competitor


def bert(
    *,
    width: int,
    layers: int,
    heads: int,
    feed_forward: int,
    dropout: float,
    vocabulary: int,
    length: int,
    precision: str = "float32",
    work: dict[str, Any],
) -> Competitor:
    """Hugging Face's BERT with PyTorch's scaled dot-product attention."""
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=feed_forward,
            max_position_embeddings=length,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            num_labels=CLASSES,
            attn_implementation="sdpa",
        )
    )
    return competitor(model, precision, False, work)
