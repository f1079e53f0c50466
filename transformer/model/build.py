"""From a model's config to the model."""

from functools import partial

from flax import nnx
from jax import Array
from jaxtyping import Key

from transformer.config import schema
from transformer.model.classifier import AnyEncoder, Classifier
from transformer.model.convolutional import ConvolutionalEncoder
from transformer.model.encoder import Encoder
from transformer.model.heads import HiddenLayer, LanguageModelHead
from transformer.model.masked_language_model import MaskedLanguageModel
from transformer.model.recurrent import RecurrentEncoder


def build_classifier(
    config: schema.Model, *, vocabulary_size: int, classes: int, maximum_length: int, pairs: bool, key: Key[Array, ""]
) -> Classifier:
    """The classifier that `config` describes, with parameters drawn by `key`.

    Args:
        maximum_length: longest text in tokens.
        pairs: whether a text is a pair, whose parts `types` tell apart.
    """
    rngs = nnx.Rngs(key)
    encoder: AnyEncoder
    hidden = None
    match config:
        case schema.Transformer():
            encoder = Encoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
            hidden = None if config.head == "linear" else partial(HiddenLayer, config.head, config=config, rngs=rngs)
        case schema.Recurrent():
            encoder = RecurrentEncoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
        case schema.Convolutional():
            encoder = ConvolutionalEncoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
    return Classifier(
        encoder,
        classes=classes,
        pooling=config.pooling,
        dropout_rate=config.dropout,
        hidden=hidden,
        dtype=config.precision,
        rngs=rngs,
    )


def build_masked_language_model(
    config: schema.Transformer, *, vocabulary_size: int, maximum_length: int, pairs: bool, key: Key[Array, ""]
) -> MaskedLanguageModel:
    """The masked language model that `config` describes, with parameters drawn by `key`; arguments as of `build_classifier`."""
    rngs = nnx.Rngs(key)
    encoder = Encoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
    return MaskedLanguageModel(encoder, LanguageModelHead(config, vocabulary_size=vocabulary_size, rngs=rngs))
