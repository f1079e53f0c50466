"""A recurrent network over all steps, with a backward pass written by hand.

Arrays are time-major, [length, batch, ...], so that each step reads and writes whole blocks. The product of the inputs with their weights
comes from outside, made for all steps at once. Automatic differentiation of the scan would make one small product a step for the gradient
of the recurrent weights, and sum them. Here the reverse scan only collects the gradient of every step's gates, and one large product after
it does the rest.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from transformer.model.products import product
from transformer.model.reading_order import step_before
from transformer.model.recurrent_cells import Cell, State

Saved = tuple[Array, Array, State, Any]


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
    """The output of every step.

    Args:
        projected: product of the inputs with their weights.
        weight: recurrent weights, for the previous output.
        continues: 1 where a step goes on from the one before it, 0 where it starts from a state of zeros. It gets no gradient.
        reverse: go from the last position to the first; the step before is then the one at the next position.
        dtype: type of the inputs of the recurrent products; their sums and everything else are float32.
    """
    return _forward(cell, projected, weight, bias, continues, reverse, dtype)[0]


def _forward(
    cell: Cell, projected: Array, weight: Array, bias: Array, continues: Array, reverse: bool, dtype: DTypeLike
) -> tuple[Array, Saved]:
    rounded = weight.astype(dtype)

    def step(state: State, inputs: tuple[Array, Array]) -> tuple[State, tuple[State, Any]]:
        projected, continues = inputs
        # The product's rows are set to zero, not the output's, because that becomes part of the elementwise kernel.
        recurrent = continues * product(state[0], rounded, dtype)
        state, saved = cell.forward(projected, recurrent, bias, tuple(continues * array for array in state))
        return state, (state, saved)

    _, (states, saved) = jax.lax.scan(step, _zeros(cell, projected, weight), (projected, continues), reverse=reverse)
    return states[0], (weight, continues, states, saved)


def _backward(cell: Cell, reverse: bool, dtype: DTypeLike, residuals: Saved, gradient: Array) -> tuple[Array, Array, Array, None]:
    weight, continues, states, saved = residuals
    previous = tuple(continues * step_before(array, reverse) for array in states)
    transposed = weight.T.astype(dtype)

    def step(later: State, inputs: tuple[Array, Array, State, State, Any]) -> tuple[State, Array]:
        gradient, continues, state, previous, saved = inputs
        projected_gradient, (output, *rest) = cell.backward((later[0] + gradient, *later[1:]), state, previous, saved)
        output += product(cell.recurrent_gradient(projected_gradient, saved), transposed, dtype)
        return tuple(continues * array for array in (output, *rest)), projected_gradient

    inputs = (gradient, continues, states, previous, saved)
    _, projected_gradient = jax.lax.scan(step, _zeros(cell, gradient, weight), inputs, reverse=not reverse)
    recurrent_gradient = cell.recurrent_gradient(projected_gradient, saved)
    _, pullback = jax.vjp(lambda weight: product(previous[0], weight, dtype), weight)
    (weight_gradient,) = pullback(recurrent_gradient)
    return projected_gradient, weight_gradient, cell.bias_gradient(projected_gradient, recurrent_gradient), None


recur.defvjp(_forward, _backward)


def _zeros(cell: Cell, like: Array, weight: Array) -> State:
    return (jnp.zeros((like.shape[1], weight.shape[0]), jnp.float32),) * cell.states
