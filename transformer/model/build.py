"""From a model's config to the model."""

from functools import partial
from typing import TypedDict, Unpack

import jax
from flax import nnx
from jax import Array
from jaxtyping import Key

from transformer.config import schema
from transformer.model.classifier import Classifier
from transformer.model.convolutional import ConvolutionalEncoder
from transformer.model.encoder import Encoder
from transformer.model.ensemble import Ensemble
from transformer.model.heads import HiddenLayer, LanguageModelHead
from transformer.model.masked_language_model import MaskedLanguageModel
from transformer.model.recurrent import RecurrentEncoder
from transformer.model.sentence_embedder import SentenceEmbedder
from transformer.model.text_encoder import TextEncoder


class Sizes(TypedDict):
    """What an encoder must know of the texts."""

    vocabulary_size: int
    """Number of different tokens."""
    maximum_length: int
    """Longest text in tokens."""
    pairs: bool
    """Whether a text is a pair, whose parts `types` tell apart."""


def build_classifier(config: schema.Model, *, classes: int, key: Key[Array, ""], **sizes: Unpack[Sizes]) -> Classifier:
    """The classifier that `config` describes, with parameters drawn by `key`."""
    rngs = nnx.Rngs(key)
    encoder = _build_encoder(config, rngs, **sizes)
    hidden = None
    if isinstance(config, schema.Transformer) and config.head != "linear":
        hidden = partial(HiddenLayer, config.head, config=config, rngs=rngs)
    return Classifier(
        encoder,
        classes=classes,
        pooling=config.pooling,
        dropout_rate=config.dropout,
        hidden=hidden,
        dtype=config.precision,
        rngs=rngs,
    )


def build_ensemble(config: schema.Model, *, members: int, classes: int, key: Key[Array, ""], **sizes: Unpack[Sizes]) -> Ensemble:
    """So many classifiers, each drawn by a key of its own."""
    return Ensemble([build_classifier(config, classes=classes, key=each, **sizes) for each in jax.random.split(key, members)])


def build_masked_language_model(config: schema.Transformer, *, key: Key[Array, ""], **sizes: Unpack[Sizes]) -> MaskedLanguageModel:
    """The masked language model that `config` describes, with parameters drawn by `key`."""
    rngs = nnx.Rngs(key)
    encoder = Encoder(config, **sizes, rngs=rngs)
    return MaskedLanguageModel(encoder, LanguageModelHead(config, vocabulary_size=sizes["vocabulary_size"], rngs=rngs))


def build_sentence_embedder(config: schema.Model, *, key: Key[Array, ""], **sizes: Unpack[Sizes]) -> SentenceEmbedder:
    """The encoder that `config` describes, as one that makes a text a vector, with parameters drawn by `key`."""
    return SentenceEmbedder(_build_encoder(config, nnx.Rngs(key), **sizes))


def _build_encoder(config: schema.Model, rngs: nnx.Rngs, **sizes: Unpack[Sizes]) -> TextEncoder:
    match config:
        case schema.Transformer():
            return Encoder(config, **sizes, rngs=rngs)
        case schema.Recurrent():
            return RecurrentEncoder(config, **sizes, rngs=rngs)
        case schema.Convolutional():
            return ConvolutionalEncoder(config, **sizes, rngs=rngs)
