"""PyTorch's competitors, each as fast as its own options make it: fused AdamW, all cores, `torch.compile` where asked."""

import os
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from benchmarks.work import CLASSES, LEARNING_RATE, WEIGHT_DECAY, Batch, Competitor, random_batch

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Embeddings(nn.Module):
    """Token and learned position embeddings, normalized and dropped out, as BERT's."""

    def __init__(self, vocabulary: int, length: int, width: int, dropout: float):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.norm(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]))


class TransformerClassifier(nn.Module):
    """`nn.TransformerEncoder`, mean pooling and a linear head."""

    def __init__(self, vocabulary: int, length: int, width: int, layers: int, heads: int, feed_forward: int, dropout: float):
        super().__init__()
        self.embeddings = Embeddings(vocabulary, length, width, dropout)
        layer = nn.TransformerEncoderLayer(width, heads, feed_forward, dropout, activation="gelu", batch_first=True)
        layer.dropout = nn.Identity()  # neither BERT nor this project drops out inside the feed-forward sublayer
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.head(mean_pool(self.encoder(self.embeddings(tokens), src_key_padding_mask=~mask), mask))


class LSTMClassifier(nn.Module):
    """`nn.LSTM`, mean pooling and a linear head. Padding follows the text, so that it cannot reach the states that are pooled."""

    def __init__(self, vocabulary: int, width: int, layers: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.head(mean_pool(self.lstm(self.embedding(tokens))[0], mask))


def mean_pool(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(2).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def transformer(
    *,
    width: int,
    layers: int,
    heads: int,
    feed_forward: int,
    dropout: float,
    batch: int,
    length: int,
    vocabulary: int,
    precision: str,
    compiled: bool,
) -> Competitor:
    """`nn.TransformerEncoder`."""
    model = TransformerClassifier(vocabulary, length, width, layers, heads, feed_forward, dropout)
    return classifier(model, [random_batch(batch, length, vocabulary)], precision, compiled)


def lstm(*, width: int, layers: int, batch: int, length: int, vocabulary: int) -> Competitor:
    """`nn.LSTM`."""
    return classifier(LSTMClassifier(vocabulary, width, layers), [random_batch(batch, length, vocabulary)], "float32", False)


def bert(
    *, width: int, layers: int, heads: int, feed_forward: int, dropout: float, batch: int, length: int, vocabulary: int
) -> Competitor:
    """Hugging Face's BERT with PyTorch's scaled dot-product attention."""
    model = bert_model(width, layers, heads, feed_forward, dropout, length, vocabulary)
    return classifier(model, [random_batch(batch, length, vocabulary)], "float32", False)


def bert_model(width: int, layers: int, heads: int, feed_forward: int, dropout: float, length: int, vocabulary: int) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
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

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = BertForSequenceClassification(config)

        def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.bert(tokens, attention_mask=mask).logits  # type: ignore[no-any-return]

    return Logits()


def classifier(model: nn.Module, batches: list[Batch], precision: str, compiled: bool) -> Competitor:
    """A competitor whose step is one training step on each of the batches."""
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    tensors = [tuple(torch.from_numpy(array) for array in (batch.tokens, batch.mask, batch.labels.astype("int64"))) for batch in batches]

    def loss_of(tokens: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(tokens, mask)
        return functional.cross_entropy(logits.float(), labels)

    objective: Loss = torch.compile(loss_of) if compiled else loss_of

    def run(steps: int) -> float:
        loss = torch.tensor(0.0)
        for _ in range(steps):
            for tokens, mask, labels in tensors:
                optimizer.zero_grad()
                loss = objective(tokens, mask, labels)
                loss.backward()
                optimizer.step()
        return loss.item()

    return Competitor(run, sum(parameter.numel() for parameter in model.parameters()), sum(int(batch.mask.sum()) for batch in batches))
