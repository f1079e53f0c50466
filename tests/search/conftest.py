import json

import jax
import pytest
from flax import nnx

from transformer.config import schema
from transformer.data.tokenizer_training import train_tokenizer
from transformer.model.build import build_classifier
from transformer.search.embedding import EncoderEmbedder
from transformer.training.devices import data_mesh

WORDS = "wheat corn oil barrel bank rate ship gold trade grain price month central export crude vessel".split()
MODELS = {
    "transformer": schema.Transformer(width=16, layers=1, feed_forward=16),
    "lstm": schema.Recurrent(kind="lstm", width=8, layers=1, hidden=8, bidirectional=True),
    "convolutional": schema.Convolutional(width=8, layers=1, hidden=8),
}


def small_embedder(kind="transformer", seed=0):
    """An embedder with random weights: nothing but what these words are made of is known to it."""
    tokenizer = train_tokenizer(schema.TrainedTokenizer(vocabulary_size=64, minimum_frequency=1), WORDS)
    model = build_classifier(
        MODELS[kind],
        vocabulary_size=tokenizer.get_vocab_size(),
        classes=2,
        maximum_length=64,
        pairs=False,
        key=jax.random.key(seed),
    )
    graph, parameters = nnx.split(model)
    batching = schema.Batching(tokens=512)
    return EncoderEmbedder(
        graph, parameters, tokenizer, settings=kind, batching=batching, maximum_length=64, mesh=data_mesh(batching.row_multiple)
    )


def write_documents(path, count, text="{word} of {other}, {row}"):
    rows = []
    for row in range(count):
        word, other = WORDS[row % 16], WORDS[row // 16 % 16]
        rows.append({"id": row, "title": f"{word} {other} {row}", "text": text.format(word=word, other=other, row=row)})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def embedder():
    return small_embedder()
