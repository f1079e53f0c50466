"""Recurrent networks whose gates see the input alone, so that all their steps are computed in parallel (Feng et al. 2024)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from transformer.config.schema.model import MinimalRecurrence
from transformer.model.linear import glorot_uniform
from transformer.model.linear_recurrence import linear_recurrence
from transformer.model.products import product
from transformer.model.reading_order import continues_text


class MinimalRecurrentLayer(nnx.Module):
    """One direction of one layer of minGRU or minLSTM (Feng et al. 2024, section 3).

    minGRU: h = (1 - z) h' + z g with z = sigmoid(W_z x + b_z) and g = W_g x + b_g.

    minLSTM: h = (f h' + i g) / (f + i) with the sigmoids f and i of W_f x + b_f and W_i x + b_i.

    Blocks of columns are in the order z, g and f, i, g. Each is drawn for itself by Glorot and Bengio (2010, equation 16). Biases start at
    zero, but b_z at -1 and b_f at 1, so that the state is remembered at first, as the LSTM's is.
    """

    def __init__(
        self, kind: MinimalRecurrence, inputs: int, hidden: int, *, reverse: bool = False, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        """Make `input_weight` [inputs, gates x hidden] and `bias`."""
        gates = 2 if kind == "mingru" else 3
        blocks = [glorot_uniform(rngs.params(), (inputs, hidden), jnp.float32) for _ in range(gates)]
        self.input_weight = nnx.Param(jnp.concatenate(blocks, axis=1))
        self.bias = nnx.Param(jnp.zeros(gates * hidden, jnp.float32).at[:hidden].set(-1.0 if kind == "mingru" else 1.0))
        self.kind = kind
        self.reverse = reverse
        self.dtype = jnp.dtype(dtype)

    def __call__(self, x: Float[Array, "length batch inputs"], segments: Int[Array, "length batch"]) -> Float[Array, "length batch hidden"]:
        """The output at each token. A text is a run of one segment number; the state is zero where it begins."""
        projected = product(x, self.input_weight[...], self.dtype) + self.bias[...]
        if self.kind == "mingru":
            update, candidate = jnp.split(projected, 2, axis=-1)
            decay = jax.nn.sigmoid(-update)
        else:
            forget, enter, candidate = jnp.split(projected, 3, axis=-1)
            # f / (f + i), without dividing zero by zero where both vanish.
            decay = jax.nn.sigmoid(jax.nn.softplus(-enter) - jax.nn.softplus(-forget))
        return linear_recurrence(decay * continues_text(segments, self.reverse), (1.0 - decay) * candidate, self.reverse)
