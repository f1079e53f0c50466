"""The elementwise part of a step of the recurrent networks, forward and backward.

A state is a tuple of arrays [batch, hidden], the first of which is the step's output. Gates are blocks of `hidden` columns, side by side.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from transformer.config.schema.model import SteppedRecurrence

State = tuple[Array, ...]


class Cell:
    """What a recurrent network does in a step with the products of the step's input and of the previous output with their weights."""

    gates: int
    """Number of blocks in the products `projected` and `recurrent`."""
    biases: int
    """Number of blocks in `bias`."""
    states: int = 1
    """Number of arrays in a state."""

    def forward(self, projected: Array, recurrent: Array, bias: Array, previous: State) -> tuple[State, Any]:
        """The new state, and what `backward` needs besides states."""
        raise NotImplementedError

    def backward(self, gradient: State, state: State, previous: State, saved: Any) -> tuple[Array, State]:
        """From the gradient of the new state, that of `projected`, and that of the previous state without its way through `recurrent`."""
        raise NotImplementedError

    def recurrent_gradient(self, projected_gradient: Array, saved: Any) -> Array:
        """The gradient of `recurrent`, of one step or of all."""
        return projected_gradient

    def bias_gradient(self, projected_gradient: Array, recurrent_gradient: Array) -> Array:
        """The gradient of `bias`, summed over all steps and rows."""
        return projected_gradient.sum((0, 1))


class RNN(Cell):
    """h = tanh(W x + U h' + b) (Elman 1990)."""

    gates = 1
    biases = 1

    def forward(self, projected: Array, recurrent: Array, bias: Array, previous: State) -> tuple[State, None]:
        return (jnp.tanh(projected + recurrent + bias),), None

    def backward(self, gradient: State, state: State, previous: State, saved: None) -> tuple[Array, State]:
        (h,) = state
        return gradient[0] * (1 - h * h), (jnp.zeros_like(h),)


class LSTM(Cell):
    """c = f c' + i g and h = o tanh(c) (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

    Of W x + U h' + b, i, f and o are sigmoids and g is a hyperbolic tangent, in this order.
    """

    gates = 4
    biases = 4
    states = 2

    def forward(self, projected: Array, recurrent: Array, bias: Array, previous: State) -> tuple[State, Array]:
        _, c = previous
        # One hyperbolic tangent for all gates: sigmoid(x) = tanh(x / 2) / 2 + 1 / 2.
        scale = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), c.shape[-1])
        gates = jnp.tanh((projected + recurrent + bias) * scale) * scale + (1 - scale)
        i, f, o, g = jnp.split(gates, 4, axis=-1)
        c = f * c + i * g
        return (o * jnp.tanh(c), c), gates

    def backward(self, gradient: State, state: State, previous: State, saved: Array) -> tuple[Array, State]:
        i, f, o, g = jnp.split(saved, 4, axis=-1)
        dh, dc = gradient
        tanh_c = jnp.tanh(state[1])
        dc += dh * o * (1 - tanh_c * tanh_c)
        gates = [dc * g * i * (1 - i), dc * previous[1] * f * (1 - f), dh * tanh_c * o * (1 - o), dc * i * (1 - g * g)]
        return jnp.concatenate(gates, axis=-1), (jnp.zeros_like(dh), dc * f)


class GRU(Cell):
    """h = (1 - z) n + z h', n = tanh(W_n x + b_n + r (U_n h' + b)), and sigmoids r and z (Cho et al. 2014).

    Gates are in the order r, z, n; `bias` holds b_r, b_z, b_n and b. The reset gate r acts after the product with U_n, as in cuDNN and
    PyTorch, where the paper has it before: so one product a step is enough.
    """

    gates = 3
    biases = 4

    def forward(self, projected: Array, recurrent: Array, bias: Array, previous: State) -> tuple[State, Array]:
        (h,) = previous
        hidden = h.shape[-1]
        outer = projected + bias[: 3 * hidden]
        r, z = jnp.split(0.5 * jnp.tanh(0.5 * (outer + recurrent)[:, : 2 * hidden]) + 0.5, 2, axis=-1)
        inner = recurrent[:, 2 * hidden :] + bias[3 * hidden :]
        n = jnp.tanh(outer[:, 2 * hidden :] + r * inner)
        return (n + z * (h - n),), jnp.concatenate([r, z, n, inner], axis=-1)

    def backward(self, gradient: State, state: State, previous: State, saved: Array) -> tuple[Array, State]:
        r, z, n, inner = jnp.split(saved, 4, axis=-1)
        (dh,) = gradient
        dn = dh * (1 - z) * (1 - n * n)
        return jnp.concatenate([dn * inner * r * (1 - r), dh * (previous[0] - n) * z * (1 - z), dn], axis=-1), (dh * z,)

    def recurrent_gradient(self, projected_gradient: Array, saved: Array) -> Array:
        dr, dz, dn = jnp.split(projected_gradient, 3, axis=-1)
        return jnp.concatenate([dr, dz, dn * saved[..., : dn.shape[-1]]], axis=-1)

    def bias_gradient(self, projected_gradient: Array, recurrent_gradient: Array) -> Array:
        hidden = projected_gradient.shape[-1] // 3
        return jnp.concatenate([projected_gradient.sum((0, 1)), recurrent_gradient[..., 2 * hidden :].sum((0, 1))])


CELLS: dict[SteppedRecurrence, Cell] = {"rnn": RNN(), "lstm": LSTM(), "gru": GRU()}
