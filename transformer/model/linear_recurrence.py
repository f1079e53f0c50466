"""The recurrence h = a h' + b over all steps, in a logarithmic number of them."""

from functools import partial

import jax
from jax import Array
from jaxtyping import Float

from transformer.model.reading_order import step_before


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def linear_recurrence(
    decay: Float[Array, "length *batch"], addition: Float[Array, "length *batch"], reverse: bool
) -> Float[Array, "length *batch"]:
    """h of every step, h = decay h' + addition, from h = 0.

    Two steps make one of the same form, (a₂, b₂) after (a₁, b₁) being (a₁ a₂, a₂ b₁ + b₂), and this is associative. So all steps are
    computed by a parallel scan (Blelloch 1990, section 1.4), and so is the gradient, which is the same recurrence in the other direction.

    Args:
        reverse: go from the last position to the first; the step before is then the one at the next position.
    """
    return _scan(decay, addition, reverse)


def _forward(decay: Array, addition: Array, reverse: bool) -> tuple[Array, tuple[Array, Array]]:
    states = _scan(decay, addition, reverse)
    return states, (decay, states)


def _backward(reverse: bool, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    decay, states = saved
    # A state acts on the loss through its own output and, multiplied by the next step's decay, through the next state.
    state_gradient = _scan(step_before(decay, not reverse), gradient, not reverse)
    return state_gradient * step_before(states, reverse), state_gradient


linear_recurrence.defvjp(_forward, _backward)


def _scan(decay: Array, addition: Array, reverse: bool) -> Array:
    def after(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return first[0] * second[0], second[0] * first[1] + second[1]

    states: Array = jax.lax.associative_scan(after, (decay, addition), reverse=reverse)[1]
    return states
