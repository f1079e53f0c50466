"""From a model's config to the model."""

from flax import nnx
from jax import Array
from jaxtyping import Key

from transformer.config import schema
from transformer.model.classifier import Classifier
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
    encoder: Encoder | RecurrentEncoder
    if isinstance(config, schema.Transformer):
        encoder = Encoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
    else:
        encoder = RecurrentEncoder(config, vocabulary_size=vocabulary_size, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
    return Classifier(encoder, classes=classes, pooling=config.pooling, dropout_rate=config.dropout, rngs=rngs)
