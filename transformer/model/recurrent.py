"""The recurrent encoders: plain RNN, LSTM and GRU, and minLSTM and minGRU."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int, Key

from transformer.config import schema
from transformer.config.schema.model import SteppedRecurrence
from transformer.model.additive import IntraAttention
from transformer.model.dropout import dropout
from transformer.model.embedding import Embedding
from transformer.model.linear import glorot_uniform
from transformer.model.minimal_recurrent import MinimalRecurrentLayer
from transformer.model.products import product
from transformer.model.reading_order import continues_text
from transformer.model.recurrent_cells import CELLS
from transformer.model.recurrent_scan import recur


class RecurrentLayer(nnx.Module):
    """One direction of one layer.

    Each gate's block of columns is drawn for itself: input weights by Glorot and Bengio (2010, equation 16), recurrent weights orthogonal
    (Saxe et al. 2014). Biases start at zero, but the LSTM's forget gate at one (Jozefowicz et al. 2015), so that it remembers at first.
    """

    def __init__(
        self, kind: SteppedRecurrence, inputs: int, hidden: int, *, reverse: bool = False, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        """Make `input_weight` [inputs, gates x hidden], `recurrent_weight` [hidden, gates x hidden] and `bias`."""
        cell = CELLS[kind]
        self.kind = kind

        def blocks(initializer: jax.nn.initializers.Initializer, rows: int) -> Array:
            return jnp.concatenate([initializer(rngs.params(), (rows, hidden), jnp.float32) for _ in range(cell.gates)], axis=1)

        self.input_weight = nnx.Param(blocks(glorot_uniform, inputs))
        self.recurrent_weight = nnx.Param(blocks(jax.nn.initializers.orthogonal(), hidden))
        bias = jnp.zeros(cell.biases * hidden, jnp.float32)
        self.bias = nnx.Param(bias.at[hidden : 2 * hidden].set(1.0) if kind == "lstm" else bias)
        self.reverse = reverse
        self.dtype = jnp.dtype(dtype)

    def __call__(self, x: Float[Array, "length batch inputs"], segments: Int[Array, "length batch"]) -> Float[Array, "length batch hidden"]:
        """The output at each token. A text is a run of one segment number; the state is zero where it begins."""
        continues = continues_text(segments, self.reverse)
        projected = product(x, self.input_weight[...], self.dtype)
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
        self.embedding = Embedding(vocabulary_size, config.width, types=2 if pairs else 0, rngs=rngs)
        directions = (False, True) if config.bidirectional else (False,)
        self.output_width = config.hidden * len(directions)
        # Intra-attention mixes both directions in every column.
        self.reverse_width = config.hidden if config.bidirectional and not config.intra_attention else 0

        def layer(depth: int, reverse: bool) -> RecurrentLayer | MinimalRecurrentLayer:
            inputs = config.width if depth == 0 else self.output_width
            match config.kind:
                case "mingru" | "minlstm" as kind:
                    return MinimalRecurrentLayer(kind, inputs, config.hidden, reverse=reverse, dtype=config.precision, rngs=rngs)
                case kind:
                    return RecurrentLayer(kind, inputs, config.hidden, reverse=reverse, dtype=config.precision, rngs=rngs)

        self.layers = nnx.List(nnx.List(layer(depth, reverse) for reverse in directions) for depth in range(config.layers))
        self.intra_attention = IntraAttention(self.output_width, dtype=config.precision, rngs=rngs) if config.intra_attention else None
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
        up to it, in two directions or with intra-attention on all. Padding (segment 0) gets zeros.

        Args:
            positions: of each token in its text; make no difference.
            key: decides what drops out; None for no dropout.
        """
        states = self._recur(tokens, segments, positions, types, key)
        if self.intra_attention is not None:
            states = self.intra_attention(states, segments)
        return jnp.where((segments != 0)[:, :, None], states, 0.0)

    def attention_weights(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
    ) -> Float[Array, "layers batch heads length length"] | None:
        """The weights of intra-attention, as one layer's and one head's; None without it."""
        if self.intra_attention is None:
            return None
        return self.intra_attention.weights(self._recur(tokens, segments, positions, types, None), segments)[None, :, None]

    def _recur(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "batch length width"]:
        x = self.embedding(tokens.T, positions.T, None if types is None else types.T)
        for depth, directions in enumerate(self.layers):
            x = dropout(x, self.dropout_rate, None if key is None else jax.random.fold_in(key, depth))
            x = jnp.concatenate([layer(x, segments.T) for layer in directions], axis=-1)
        return x.swapaxes(0, 1)
