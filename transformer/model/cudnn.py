"""The LSTM by cuDNN, NVIDIA's library: all steps of a layer, in both its directions, in one kernel's call.

It was never run: no machine that built this project had such a GPU. Tests on CPUs compare the packing of the weights and the order of the
gates with JAX's own reference, and look into the program that is made for a GPU.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import rnn
from jaxtyping import Bool, Float, Int

Weights = tuple[Array, Array, Array]
"""`input_weight`, `recurrent_weight` and `bias` of a `RecurrentLayer`, an LSTM's."""


def available() -> bool:
    """Whether cuDNN may be asked for: on one GPU.

    On several, JAX would gather the whole batch on each of them, since it cannot split what it does not know. Without a GPU its interface
    cannot even be traced.
    """
    return jax.default_backend() == "gpu" and jax.device_count() == 1


def texts_start_rows(segments: Int[Array, "length batch"]) -> Bool[Array, ""]:
    """Whether each row is one text and then padding; cuDNN cannot start anew inside a row."""
    return ~((segments[1:] != segments[:-1]) & (segments[1:] != 0)).any()


def cudnn_lstm(
    x: Float[Array, "length batch inputs"], segments: Int[Array, "length batch"], directions: Sequence[Weights]
) -> Float[Array, "length batch outputs"]:
    """The outputs of an LSTM's layer, with the second direction's, if there is one, beside the first's. Padding gets no defined outputs.

    Products take float32 (on newer GPUs TF32, as JAX's own do) whatever the model's `precision` is.

    Args:
        segments: of rows that `texts_start_rows`.
        directions: weights of the direction that reads forward, and of the one that reads backward.
    """
    hidden = directions[0][1].shape[0]
    start = jnp.zeros((len(directions), x.shape[1], hidden), jnp.float32)
    outputs, _, _ = rnn.lstm(
        x.swapaxes(0, 1),
        start,
        start,
        _packed(directions),
        jnp.maximum((segments != 0).sum(axis=0, dtype=jnp.int32), 1),  # a row of padding is read as a text of one token
        input_size=x.shape[-1],
        hidden_size=hidden,
        num_layers=1,
        dropout=0.0,
        bidirectional=len(directions) == 2,
    )
    return outputs.swapaxes(0, 1)


def _packed(directions: Sequence[Weights]) -> Float[Array, " weights"]:
    # Weights of all directions, transposed, then two biases of each; cuDNN adds both, so one is enough.
    weights = [_in_order(weight).T for input_weight, recurrent_weight, _ in directions for weight in (input_weight, recurrent_weight)]
    biases = [each for *_, bias in directions for each in (_in_order(bias), jnp.zeros_like(bias))]
    return jnp.concatenate([array.ravel() for array in (*weights, *biases)])


def _in_order(gates: Float[Array, "*rows gates"]) -> Float[Array, "*rows gates"]:
    # Ours are i, f, o, g; cuDNN's are i, f, g, o.
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    return jnp.concatenate([i, f, g, o], axis=-1)
