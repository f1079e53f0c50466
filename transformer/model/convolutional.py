"""The convolutional encoder: gated convolutions with residual connections."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key

from transformer.config import schema
from transformer.model.dropout import dropout
from transformer.model.embedding import Embedding
from transformer.model.linear import Linear
from transformer.model.normalization import LayerNorm


class GatedConvolution(nnx.Module):
    """(X * W + b) ⊙ sigmoid(X * V + c), * being convolution along the text (Dauphin et al. 2017, equation 1).

    The states that a window holds, its taps, are laid side by side, and one matrix product does the rest.
    """

    def __init__(self, width: int, kernel_size: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs) -> None:
        """Make the linear layer `taps`, from kernel_size x width to W's and V's columns."""
        self.taps = Linear(kernel_size * width, 2 * width, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch length width"], visible: Bool[Array, "batch length taps"]
    ) -> Float[Array, "batch length width"]:
        """Convolve; a tap that is not `visible` reads zeros."""
        taps = jnp.where(visible[..., None], _windows(x, visible.shape[-1]), 0.0)
        linear, gate = jnp.split(self.taps(taps.reshape(*x.shape[:2], -1)), 2, axis=-1)
        return linear * jax.nn.sigmoid(gate)


class ConvolutionalLayer(nnx.Module):
    """x + dropout(convolution(norm(x))), as in a pre-norm Transformer, where Dauphin et al. (2017) normalize the weights."""

    def __init__(self, config: schema.Convolutional, *, rngs: nnx.Rngs) -> None:
        """Make `norm` and `convolution`."""
        self.norm = LayerNorm(config.hidden)
        self.convolution = GatedConvolution(config.hidden, config.kernel_size, dtype=config.precision, rngs=rngs)
        self.dropout_rate = config.dropout

    def __call__(
        self,
        x: Float[Array, "batch length width"],
        visible: Bool[Array, "batch length taps"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch length width"]:
        """One layer. With a `key`, the convolution's output drops out."""
        return x + dropout(self.convolution(self.norm(x), visible), self.dropout_rate, key)


class ConvolutionalEncoder(nnx.Module):
    """Embeddings, a linear layer to the hidden size, a stack of gated convolutions, and a norm (Dauphin et al. 2017, section 2).

    Windows are centred, since an encoder may read ahead; with every layer a state depends on (kernel_size - 1) / 2 tokens more to both
    sides.
    """

    def __init__(self, config: schema.Convolutional, *, vocabulary_size: int, maximum_length: int, pairs: bool, rngs: nnx.Rngs) -> None:
        """Make all parameters.

        Args:
            maximum_length: longest text in tokens; makes no difference, since convolutions need no positions.
            pairs: whether `types` tell the two texts of a pair apart.
        """
        self.embedding = Embedding(vocabulary_size, config.width, types=2 if pairs else 0, rngs=rngs)
        self.embedding_projection = Linear(config.width, config.hidden, dtype=config.precision, rngs=rngs)
        self.layers = nnx.List(ConvolutionalLayer(config, rngs=rngs) for _ in range(config.layers))
        self.final_norm = LayerNorm(config.hidden)
        self.kernel_size = config.kernel_size
        self.dropout_rate = config.dropout
        self.output_width = config.hidden
        self.reverse_width = 0

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch length width"]:
        """The state of each token, width being `output_width`. It depends on nearby tokens of its own segment only. Padding (segment 0)
        gets finite states.

        Args:
            positions: of each token in its text; make no difference.
            key: decides what drops out; None for no dropout.
        """
        visible = (_windows(segments, self.kernel_size) == segments[:, :, None]) & (segments != 0)[:, :, None]
        keys = [None if key is None else jax.random.fold_in(key, index) for index in range(len(self.layers) + 1)]
        x = self.embedding_projection(dropout(self.embedding(tokens, positions, types), self.dropout_rate, keys[-1]))
        for layer, layer_key in zip(self.layers, keys[:-1], strict=True):
            x = layer(x, visible, key=layer_key)
        return self.final_norm(x)

    def attention_weights(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
    ) -> None:
        """None: convolutions have no attention."""


def _windows(x: Array, taps: int) -> Array:
    """The elements around each position along axis 1, on a new axis after it, with zeros beyond the ends."""
    length, reach = x.shape[1], taps // 2
    padded = jnp.pad(x, ((0, 0), (reach, reach), *((0, 0),) * (x.ndim - 2)))
    return jnp.stack([padded[:, tap : tap + length] for tap in range(taps)], axis=2)
