"""PyTorch's competitors, each as fast as its own options make it: fused AdamW, all cores, `torch.compile` where asked."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.work import CLASSES, LEARNING_RATE, WEIGHT_DECAY, Competitor, load_batches
from transformer.host import usable_cores


class TransformerClassifier(nn.Module):
    """BERT's embeddings (learned positions, LayerNorm), `nn.TransformerEncoder`, mean pooling and a linear head."""

    def __init__(self, vocabulary: int, length: int, width: int, layers: int, heads: int, feed_forward: int, dropout: float):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, feed_forward, dropout, activation="gelu", batch_first=True)
        layer.dropout = nn.Identity()  # neither BERT nor this project drops out inside the feed-forward sublayer
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        states = self.dropout(self.norm(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]))
        return self.head(_mean_pool(self.encoder(states, src_key_padding_mask=~mask), mask))


class LSTMClassifier(nn.Module):
    """`nn.LSTM`, mean pooling and a linear head. Padding follows the text, so that it cannot reach the states that are pooled."""

    def __init__(self, vocabulary: int, width: int, layers: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.head(_mean_pool(self.lstm(self.embedding(tokens))[0], mask))


def _mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(2).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def transformer(
    *,
    width: int,
    layers: int,
    heads: int,
    feed_forward: int,
    dropout: float,
    vocabulary: int,
    length: int,
    precision: str = "float32",
    compiled: bool = False,
    work: dict[str, Any],
) -> Competitor:
    """`nn.TransformerEncoder`."""
    return competitor(TransformerClassifier(vocabulary, length, width, layers, heads, feed_forward, dropout), precision, compiled, work)


def lstm(*, width: int, layers: int, vocabulary: int, work: dict[str, Any]) -> Competitor:
    """`nn.LSTM`."""
    return competitor(LSTMClassifier(vocabulary, width, layers), "float32", False, work)


def competitor(model: nn.Module, precision: str, compiled: bool, work: dict[str, Any]) -> Competitor:
    """Training of a classifier that maps tokens and mask to logits."""
    torch.set_num_threads(usable_cores())
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    batches = load_batches(work)
    tensors = [[torch.from_numpy(array) for array in (batch.tokens, batch.mask, batch.labels.astype("int64"))] for batch in batches]

    def loss_of(tokens: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            result = model(tokens, mask)
        logits = result if isinstance(result, Tensor) else result.logits
        return functional.cross_entropy(logits.float(), labels)

    objective = torch.compile(loss_of) if compiled else loss_of

    def run(passes: int) -> float:
        for _ in range(passes):
            for tokens, mask, labels in tensors:
                optimizer.zero_grad()
                loss = objective(tokens, mask, labels)
                loss.backward()
                optimizer.step()
        return loss.item()

    return Competitor(run, sum(parameter.numel() for parameter in model.parameters()), batches)
