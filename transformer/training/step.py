"""The training step: one function for every model and objective."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from transformer.training.learning_rates import is_frozen
from transformer.training.objective import DeviceBatch, Objective, Parameters

LossAndWeight = tuple[Float[Array, ""], Float[Array, ""]]
"""What an objective's loss returns."""
LossAndGradient = Callable[[Parameters, DeviceBatch, Array], tuple[LossAndWeight, Parameters]]


# JAX builds these two with other leaves than arrays (shapes, shardings, what `lower` knows of its arguments), so tests must not check them.
@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that a step changes."""

    step: Int[Array, ""]
    parameters: Parameters
    optimizer: optax.OptState
    average: Parameters | None
    """Exponential moving average of the parameters, where the config asks for one."""

    @property
    def evaluated(self) -> Parameters:
        """The parameters that are evaluated: the average where there is one."""
        return self.parameters if self.average is None else self.average


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StepMetrics:
    """What a step measured before its update."""

    loss: Float[Array, ""]
    """Mean over all that is predicted in the batch (examples, or masked tokens), in nats."""
    gradient_norm: Float[Array, ""]
    """Global norm before clipping."""


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Variation:
    """What tells a run from its fellows: arguments of the step and not constants of it, so that they share the compiled programs."""

    key: Key[Array, ""]
    """Made from the seed."""
    learning_rate: Float[Array, ""]
    """The highest one."""


def initial_state(parameters: Parameters, optimizer: optax.GradientTransformation, average: bool) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        parameters=parameters,
        optimizer=optimizer.init(parameters),
        average=jax.tree.map(jnp.copy, parameters) if average else None,
    )


def make_train_step(
    graph: nnx.GraphDef[nnx.Module],
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    mean_weight: float,
    shares: Parameters | None = None,
    accumulation: int = 1,
    average_decay: float = 0.0,
) -> Callable[[TrainState, DeviceBatch, Variation], tuple[TrainState, StepMetrics]]:
    """The pure function (state, batch, variation) -> (new state, metrics), to be compiled with the state donated.

    The gradient is that of the summed loss over `mean_weight`, the mean number of examples in a batch, and not over this batch's own
    number: a batch of long texts holds fewer of them, and each example shall count the same. Randomness is a function of (seed, step). The
    batch is cut into `accumulation` pieces whose gradients are added. The optimizer is one for a learning rate whose peak is 1; `shares`
    are each parameter's share of the learning rate (see `learning_rates.py`; without them, 1).
    """

    def summed_loss(parameters: Parameters, batch: DeviceBatch, key: Array) -> LossAndWeight:
        return objective.loss(nnx.merge(graph, parameters if shares is None else _learned(parameters, shares)), batch, key)

    gradients = _accumulated(jax.value_and_grad(summed_loss, has_aux=True), accumulation)

    def train_step(state: TrainState, batch: DeviceBatch, variation: Variation) -> tuple[TrainState, StepMetrics]:
        key = jax.random.fold_in(variation.key, state.step)
        (loss, weight), gradient = gradients(state.parameters, batch, key)
        gradient = jax.tree.map(lambda leaf: leaf / mean_weight, gradient)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.parameters)
        updates = optax.tree.scale(variation.learning_rate, updates)
        if shares is not None:
            updates = jax.tree.map(jnp.multiply, updates, shares)
        parameters = optax.apply_updates(state.parameters, updates)
        average = state.average
        if average is not None:
            # The first steps average over fewer, or the initial parameters would linger.
            decay = jnp.minimum(average_decay, (1.0 + state.step) / (10.0 + state.step))
            average = optax.incremental_update(parameters, average, 1.0 - decay)
        metrics = StepMetrics(loss=loss / jnp.maximum(weight, 1.0), gradient_norm=optax.tree.norm(gradient))
        return TrainState(state.step + 1, parameters, optimizer_state, average), metrics

    return train_step


def _learned(parameters: Parameters, shares: Parameters) -> Parameters:
    """The parameters, without a gradient where their share of the learning rate is 0."""

    # Otherwise the gradients of parameters that stay as they are would be computed, and count in the norm that clipping looks at. Of
    # scanned layers, which have one array together, some may stay and others not.
    def leaf(leaf: Array, share: Any) -> Array:
        stays = jax.lax.stop_gradient(leaf)
        return stays if is_frozen(share) else leaf if np.all(share) else jnp.where(share != 0, leaf, stays)

    return jax.tree.map(leaf, parameters, shares)


def _accumulated(loss_and_gradient: LossAndGradient, pieces: int) -> LossAndGradient:
    """The same sums, the batch being cut into pieces that are computed one after the other."""
    if pieces == 1:
        return loss_and_gradient

    def accumulated(parameters: Parameters, batch: DeviceBatch, key: Array) -> tuple[LossAndWeight, Parameters]:
        def add(total: Any, piece: tuple[DeviceBatch, Array]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, loss_and_gradient(parameters, *piece)), None

        # Row r goes to piece r mod `pieces`, so that a batch split over devices stays split in every piece.
        cut = {name: jnp.swapaxes(rows.reshape(-1, pieces, *rows.shape[1:]), 0, 1) for name, rows in batch.items()}
        zero = ((jnp.zeros(()), jnp.zeros(())), jax.tree.map(jnp.zeros_like, parameters))
        total, _ = jax.lax.scan(add, zero, (cut, jax.random.split(key, pieces)))
        return total

    return accumulated
