"""Recurrent networks over time, with a backward pass written by hand.

Arrays are time-major, [length, batch, ...]: a scan then reads and writes whole blocks. The product with the inputs is made before, for all
steps at once. Automatic differentiation of a scan would compute the recurrent weight's gradient as one small product a step and sum them. Here
the reverse scan only collects the gradient of each step's gates, and one large product afterwards gives the weight's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from transformer.model.products import product


State = tuple[Array, ...]


class Cell(NamedTuple):
    """The elementwise part of one step, forward and backward. A state is a tuple of arrays [batch, hidden]; the first is the output.

    Every gate is a block of `hidden` columns. `projected` and `recurrent` are the products of the step's input and of the previous output
    with their weights; what a step saves is an array of blocks too, or None.
    """

    gates: int
    """Number of gates in `projected` and `recurrent`."""
    biases: int
    """Number of blocks in `bias`."""
    states: int
    """Number of arrays in a state."""
    forward: Callable[..., tuple[State, Array | None]]
    """(projected, recurrent, bias, previous state) -> (state, saved)."""
    backward: Callable[..., tuple[Array, State]]
    """(gradient of the state, state, previous state, saved) -> (gradient of `projected`, elementwise gradient of the previous state)."""
    recurrent_gradient: Callable[[Array, Array | None], Array]
    """(gradient of `projected`, saved) -> gradient of `recurrent`, for one step or all."""
    bias_gradient: Callable[[Array, Array], Array]
    """(gradient of `projected`, gradient of `recurrent`), of all steps -> gradient of `bias`."""


@partial(jax.custom_vjp, nondiff_argnums=(0, 5, 6))
def recur(
    cell: Cell,
    projected: Float[Array, "length batch gates"],
    weight: Float[Array, "hidden gates"],
    bias: Float[Array, " biases"],
    continues: Float[Array, "length batch 1"],
    reverse: bool,
    dtype: DTypeLike,
) -> Float[Array, "length batch hidden"]:
    """The outputs of a recurrent network at every step.

    Args:
        projected: product of the inputs with their weights.
        weight: recurrent weights, for the previous output.
        continues: 1 where a step goes on from the one before it, 0 where it starts from a state of zeros. No gradient.
        reverse: go from the last step to the first; "before" then means the next position.
        dtype: type of the inputs of the recurrent products; their sums and everything else are float32.
    """
    return _forward(cell, projected, weight, bias, continues, reverse, dtype)[0]


Saved = tuple[Array, Array, State, Array | None]


def _forward(
    cell: Cell, projected: Array, weight: Array, bias: Array, continues: Array, reverse: bool, dtype: DTypeLike
) -> tuple[Array, Saved]:
    rounded = weight.astype(dtype)

    def step(state: State, inputs: tuple[Array, Array]) -> tuple[State, tuple[State, Array | None]]:
        projected, continues = inputs
        # Rows of the product are scaled instead of rows of the state, as part of the elementwise block.
        recurrent = continues * product(state[0], rounded, dtype)
        state, saved = cell.forward(projected, recurrent, bias, tuple(continues * previous for previous in state))
        return state, (state, saved)

    _, (states, saved) = jax.lax.scan(step, _zero_state(cell, projected, weight), (projected, continues), reverse=reverse)
    return states[0], (weight, continues, states, saved)


def _backward(cell: Cell, reverse: bool, dtype: DTypeLike, residuals: Saved, gradient: Array) -> tuple[Array, Array, Array, None]:
    weight, continues, states, saved = residuals
    previous = tuple(continues * _previous(state, reverse) for state in states)
    transposed = weight.T.astype(dtype)

    def step(state_gradient: State, inputs: tuple[Any, ...]) -> tuple[State, Array]:
        gradient, continues, state, previous, saved = inputs
        total = (state_gradient[0] + gradient, *state_gradient[1:])
        projected_gradient, (output_gradient, *rest) = cell.backward(total, state, previous, saved)
        output_gradient += product(cell.recurrent_gradient(projected_gradient, saved), transposed, dtype)
        return tuple(continues * g for g in (output_gradient, *rest)), projected_gradient

    _, projected_gradient = jax.lax.scan(
        step, _zero_state(cell, gradient, weight), (gradient, continues, states, previous, saved), reverse=not reverse
    )
    recurrent_gradient = cell.recurrent_gradient(projected_gradient, saved)
    outputs = previous[0].reshape(-1, weight.shape[0])
    (weight_gradient,) = jax.vjp(lambda weight: product(outputs, weight, dtype), weight)[1](recurrent_gradient.reshape(-1, weight.shape[1]))
    return projected_gradient, weight_gradient, cell.bias_gradient(projected_gradient, recurrent_gradient), None


recur.defvjp(_forward, _backward)


def _zero_state(cell: Cell, like: Array, weight: Array) -> State:
    return (jnp.zeros((like.shape[1], weight.shape[0]), jnp.float32),) * cell.states


def _previous(states: Array, reverse: bool) -> Array:
    zero = jnp.zeros_like(states[:1])
    return jnp.concatenate([states[1:], zero] if reverse else [zero, states[:-1]])


def _sigmoid(x: Array) -> Array:
    # A hyperbolic tangent is the fastest of the functions that it could be made of on CPUs.
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


# ----------------------------------------------------------------------------------------------------------- plain RNN


def _rnn_forward(projected: Array, recurrent: Array, bias: Array, previous: tuple[Array]) -> tuple[tuple[Array], None]:
    return (jnp.tanh(projected + recurrent + bias),), None


def _rnn_backward(gradient: tuple[Array], state: tuple[Array], previous: tuple[Array], saved: None) -> tuple[Array, tuple[Array]]:
    (h,) = state
    return gradient[0] * (1 - h * h), (jnp.zeros_like(h),)


# ---------------------------------------------------------------------------------------------------------------- LSTM


def _lstm_forward(projected: Array, recurrent: Array, bias: Array, previous: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
    # Three sigmoids and a hyperbolic tangent as one: sigmoid(x) = tanh(x / 2) / 2 + 1 / 2.
    scale = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), previous[1].shape[-1])
    gates = scale * jnp.tanh(scale * (projected + recurrent + bias)) + (1 - scale)
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    c = f * previous[1] + i * g
    return (o * jnp.tanh(c), c), gates


def _lstm_backward(
    gradient: tuple[Array, Array], state: tuple[Array, Array], previous: tuple[Array, Array], saved: Array
) -> tuple[Array, tuple[Array, Array]]:
    i, f, o, g = jnp.split(saved, 4, axis=-1)
    dh, dc = gradient
    tanh_c = jnp.tanh(state[1])
    dc += dh * o * (1 - tanh_c * tanh_c)
    gates = [dc * g * i * (1 - i), dc * previous[1] * f * (1 - f), dh * tanh_c * o * (1 - o), dc * i * (1 - g * g)]
    return jnp.concatenate(gates, axis=-1), (jnp.zeros_like(dh), dc * f)


# ----------------------------------------------------------------------------------------------------------------- GRU


def _gru_forward(projected: Array, recurrent: Array, bias: Array, previous: tuple[Array]) -> tuple[tuple[Array], Array]:
    (h,) = previous
    hidden = h.shape[-1]
    gates = _sigmoid(projected[:, : 2 * hidden] + recurrent[:, : 2 * hidden] + bias[: 2 * hidden])
    r, z = jnp.split(gates, 2, axis=-1)
    inner = recurrent[:, 2 * hidden :] + bias[3 * hidden :]
    n = jnp.tanh(projected[:, 2 * hidden :] + bias[2 * hidden : 3 * hidden] + r * inner)
    return (n + z * (h - n),), jnp.concatenate([r, z, n, inner], axis=-1)


def _gru_backward(gradient: tuple[Array], state: tuple[Array], previous: tuple[Array], saved: Array) -> tuple[Array, tuple[Array]]:
    r, z, n, inner = jnp.split(saved, 4, axis=-1)
    (dh,) = gradient
    dn = dh * (1 - z) * (1 - n * n)
    return jnp.concatenate([dn * inner * r * (1 - r), dh * (previous[0] - n) * z * (1 - z), dn], axis=-1), (dh * z,)


def _gru_recurrent_gradient(projected_gradient: Array, saved: Array) -> Array:
    r = saved[..., : saved.shape[-1] // 4]
    dr, dz, dn = jnp.split(projected_gradient, 3, axis=-1)
    return jnp.concatenate([dr, dz, r * dn], axis=-1)


def _gru_bias_gradient(projected_gradient: Array, recurrent_gradient: Array) -> Array:
    hidden = projected_gradient.shape[-1] // 3
    return jnp.concatenate([projected_gradient.sum((0, 1)), recurrent_gradient[..., 2 * hidden :].sum((0, 1))])


# ----------------------------------------------------------------------------------------------------------------------


def _same(projected_gradient: Array, saved: Array | None) -> Array:
    return projected_gradient


def _sum(projected_gradient: Array, recurrent_gradient: Array) -> Array:
    return projected_gradient.sum((0, 1))


RNN = Cell(1, 1, 1, _rnn_forward, _rnn_backward, _same, _sum)
"""h = tanh(W x + U h' + b) (Elman 1990)."""

LSTM = Cell(4, 4, 2, _lstm_forward, _lstm_backward, _same, _sum)
"""c = f c' + i g, h = o tanh(c), gates in the order i, f, o, g (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

The first three gates are sigmoids and the last a hyperbolic tangent of W x + U h' + b.
"""

GRU = Cell(3, 4, 1, _gru_forward, _gru_backward, _gru_recurrent_gradient, _gru_bias_gradient)
"""h = (1 - z) n + z h' with n = tanh(W_n x + b_n + r (U_n h' + b)) and sigmoids r, z (Cho et al. 2014); gates r, z, n, bias r, z, n, b.

The reset gate r acts after the product with U_n, as in cuDNN and PyTorch, and not before as in the paper: so one product a step is enough.
"""
