"""From a model's config to the model."""

from flax import nnx
from jax import Array
from jaxtyping import Key

from transformer.config import schema
from transformer.model.classifier import AnyEncoder, Classifier
from transformer.model.convolutional import ConvolutionalEncoder
from transformer.model.encoder import Encoder
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
    match config:
        case schema.Transformer():
            encoder = Encoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
        case schema.Recurrent():
            encoder = RecurrentEncoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
        case schema.Convolutional():
            encoder = ConvolutionalEncoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
    return Classifier(encoder, classes=classes, pooling=config.pooling, dropout_rate=config.dropout, dtype=config.precision, rngs=rngs)
