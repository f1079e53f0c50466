"""The recurrent encoders: plain RNN, LSTM and GRU."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int, Key

from transformer.config import schema
from transformer.model.dropout import dropout
from transformer.model.embedding import Embedding
from transformer.model.products import product
from transformer.model.recurrent_cells import CELLS
from transformer.model.recurrent_scan import recur


class RecurrentLayer(nnx.Module):
    """One direction of one layer.

    Each gate's block of columns is drawn for itself: input weights by Glorot and Bengio (2010, equation 16), recurrent weights orthogonal
    (Saxe et al. 2014). Biases start at zero, but the LSTM's forget gate at one (Jozefowicz et al. 2015), so that it remembers at first.
    """

    def __init__(
        self, kind: Literal["rnn", "lstm", "gru"], inputs: int, hidden: int, *, reverse: bool = False, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        """Make `input_weight` [inputs, gates x hidden], `recurrent_weight` [hidden, gates x hidden] and `bias`."""
        cell = CELLS[kind]
        self.kind = kind
        glorot, orthogonal = jax.nn.initializers.glorot_uniform(), jax.nn.initializers.orthogonal()

        def blocks(initializer: jax.nn.initializers.Initializer, rows: int) -> Array:
            return jnp.concatenate([initializer(rngs.params(), (rows, hidden), jnp.float32) for _ in range(cell.gates)], axis=1)

        self.input_weight = nnx.Param(blocks(glorot, inputs))
        self.recurrent_weight = nnx.Param(blocks(orthogonal, hidden))
        bias = jnp.zeros(cell.biases * hidden, jnp.float32)
        self.bias = nnx.Param(bias.at[hidden : 2 * hidden].set(1.0) if kind == "lstm" else bias)
        self.reverse = reverse
        self.dtype = jnp.dtype(dtype)

    def __call__(self, x: Float[Array, "length batch inputs"], segments: Int[Array, "length batch"]) -> Float[Array, "length batch hidden"]:
        """The output at each token. A text is a run of one segment number; the state is zero where it begins."""
        neighbour = jnp.zeros_like(segments[:1])
        neighbours = jnp.concatenate([segments[1:], neighbour] if self.reverse else [neighbour, segments[:-1]])
        continues = ((segments == neighbours) & (segments != 0)).astype(jnp.float32)[:, :, None]
        projected = product(x.reshape(-1, x.shape[-1]), self.input_weight[...], self.dtype).reshape(*x.shape[:2], -1)
        # A platform with kernels for whole recurrent networks (cuDNN) would branch off here, by jax.lax.platform_dependent.
        return recur(CELLS[self.kind], projected, self.recurrent_weight[...], self.bias[...], continues, self.reverse, self.dtype)


class RecurrentEncoder(nnx.Module):
    """Embeddings and a stack of recurrent layers, each in one direction or two (Schuster and Paliwal 1997).

    Dropout is on the embeddings and between layers, never on the recurrence (Zaremba et al. 2014).
    """

    def __init__(self, config: schema.Recurrent, *, vocabulary_size: int, maximum_length: int, pairs: bool, rngs: nnx.Rngs) -> None:
        """Make all parameters.

        Args:
            maximum_length: longest text in tokens; makes no difference, since a recurrent network needs no positions.
            pairs: whether `types` tell the two texts of a pair apart.
        """
        self.embedding = Embedding(vocabulary_size, config.width, maximum_length=maximum_length, pairs=pairs, rngs=rngs)
        directions = (False, True) if config.bidirectional else (False,)
        self.output_width = config.hidden * len(directions)
        self.layers = nnx.List(
            nnx.List(
                RecurrentLayer(
                    config.kind,
                    config.width if depth == 0 else self.output_width,
                    config.hidden,
                    reverse=reverse,
                    dtype=config.precision,
                    rngs=rngs,
                )
                for reverse in directions
            )
            for depth in range(config.layers)
        )
        self.dropout_rate = config.dropout

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch length width"]:
        """The state of each token, width being `output_width`. It depends on the tokens of its own text only: in one direction on those
        up to it, in two directions on all. Padding (segment 0) gets zeros.

        Args:
            positions: of each token in its text; make no difference.
            key: decides what drops out; None for no dropout.
        """
        x = self.embedding(tokens.T, positions.T, None if types is None else types.T)
        for depth, directions in enumerate(self.layers):
            x = dropout(x, self.dropout_rate, None if key is None else jax.random.fold_in(key, depth))
            x = jnp.concatenate([layer(x, segments.T) for layer in directions], axis=-1)
        return jnp.where((segments != 0)[:, :, None], x.swapaxes(0, 1), 0.0)
