"""From a model's config to the model."""

from functools import partial
from typing import Any

import jax
from flax import nnx
from jax import Array
from jaxtyping import Key

from transformer.config import schema
from transformer.model.classifier import AnyEncoder, Classifier
from transformer.model.convolutional import ConvolutionalEncoder
from transformer.model.encoder import Encoder
from transformer.model.ensemble import Ensemble
from transformer.model.heads import HiddenLayer, LanguageModelHead
from transformer.model.masked_language_model import MaskedLanguageModel
from transformer.model.recurrent import RecurrentEncoder
from transformer.model.sentence_embedder import SentenceEmbedder


def build_classifier(
    config: schema.Model, *, vocabulary_size: int, classes: int, maximum_length: int, pairs: bool, key: Key[Array, ""]
) -> Classifier:
    """The classifier that `config` describes, with parameters drawn by `key`.

    Args:
        maximum_length: longest text in tokens.
        pairs: whether a text is a pair, whose parts `types` tell apart.
    """
    rngs = nnx.Rngs(key)
    encoder = _build_encoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
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


def build_ensemble(config: schema.Model, *, members: int, key: Key[Array, ""], **sizes: Any) -> Ensemble:
    """So many classifiers, each drawn by a key of its own; the other arguments are those of `build_classifier`."""
    return Ensemble([build_classifier(config, key=member_key, **sizes) for member_key in jax.random.split(key, members)])


def build_masked_language_model(
    config: schema.Transformer, *, vocabulary_size: int, maximum_length: int, pairs: bool, key: Key[Array, ""]
) -> MaskedLanguageModel:
    """The masked language model that `config` describes, with parameters drawn by `key`; arguments as of `build_classifier`."""
    rngs = nnx.Rngs(key)
    encoder = Encoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
    return MaskedLanguageModel(encoder, LanguageModelHead(config, vocabulary_size=vocabulary_size, rngs=rngs))


def build_sentence_embedder(
    config: schema.Model, *, vocabulary_size: int, maximum_length: int, pairs: bool, key: Key[Array, ""]
) -> SentenceEmbedder:
    """The encoder that `config` describes, as one that makes a text a vector; arguments as of `build_classifier`."""
    rngs = nnx.Rngs(key)
    return SentenceEmbedder(_build_encoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs))


def _build_encoder(config: schema.Model, *, vocabulary_size: int, maximum_length: int, pairs: bool, rngs: nnx.Rngs) -> AnyEncoder:
    match config:
        case schema.Transformer():
            return Encoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
        case schema.Recurrent():
            return RecurrentEncoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
        case schema.Convolutional():
            return ConvolutionalEncoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
