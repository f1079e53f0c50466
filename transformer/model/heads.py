"""What stands between an encoder's states and what is predicted: the hidden layer of a classifier, and the head that tells tokens."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from transformer.config import schema
from transformer.config.schema.model import Hidden
from transformer.model.feed_forward import NONLINEARITIES, gelu
from transformer.model.linear import Linear
from transformer.model.normalization import make_norm
from transformer.model.products import product_with_transpose

HIDDEN_NONLINEARITIES: dict[Hidden, Callable[[Array], Array]] = {"tanh": jnp.tanh, "relu": jax.nn.relu, "gelu_norm": gelu}


class HiddenLayer(nnx.Module):
    """f(x W + b): the hidden layer of a pretrained encoder's classifier.

    f is the hyperbolic tangent (BERT, Devlin et al. 2019, and RoBERTa), the ReLU (DistilBERT) or, in ModernBERT (`gelu_norm`), the GELU
    with a norm after it; that layer and its norm have no bias.
    """

    def __init__(self, kind: Hidden, inputs: int, config: schema.Transformer, *, rngs: nnx.Rngs) -> None:
        """Make the linear layer `dense`, from `inputs` to the encoder's width, and `norm` or None."""
        normalized = kind == "gelu_norm"
        self.dense = Linear(inputs, config.width, bias=not normalized, dtype=config.precision, rngs=rngs)
        self.norm = make_norm(config, bias=False) if normalized else None
        self.kind = kind
        self.output_width = config.width

    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch width"]:
        hidden = HIDDEN_NONLINEARITIES[self.kind](self.dense(x))
        return hidden if self.norm is None else self.norm(hidden)


class LanguageModelHead(nnx.Module):
    """norm(f(x W + b)) Eᵀ + c: how well each token of the vocabulary fits, E being the token embeddings (BERT, Devlin et al. 2019, 3.1).

    f is the nonlinearity of the encoder's feed-forward sublayers. E is not copied, so what is learned here is learned there.
    """

    def __init__(self, config: schema.Transformer, *, vocabulary_size: int, rngs: nnx.Rngs) -> None:
        """Make the linear layer `dense` [width, width], `norm`, and `bias` [vocabulary] (c), zeros."""
        self.dense = Linear(config.width, config.width, bias=config.bias, dtype=config.precision, rngs=rngs)
        self.norm = make_norm(config, bias=config.bias)
        self.bias = nnx.Param(jnp.zeros(vocabulary_size, jnp.float32))
        self.activation = config.activation
        self.dtype: DTypeLike = jnp.dtype(config.precision)

    def __call__(
        self, states: Float[Array, "*batch width"], embeddings: Float[Array, "vocabulary width"]
    ) -> Float[Array, "*batch vocabulary"]:
        """Logits, in float32, of every token for each state."""
        hidden = self.norm(NONLINEARITIES[self.activation](self.dense(states)))
        return product_with_transpose(hidden, embeddings, self.dtype) + self.bias[...]
