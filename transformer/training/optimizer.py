"""Learning-rate schedules and optimizers, from Optax."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from transformer.config import schema
from transformer.model.parameter_paths import names_on_path
from transformer.training.learning_rates import is_frozen


def learning_rate_schedule(schedule: schema.Schedule, steps: int) -> optax.Schedule:
    """The learning rate as a function of the step, counted from 0, its peak being 1.

    Warm-up rises linearly and reaches the peak at step `warmup_steps` - 1, so that no step is taken with a rate of zero. Then, with p the
    share of the remaining steps that has passed and f the final fraction:

    - `constant`: 1
    - `linear`: 1 - (1 - f) p
    - `cosine`: f + (1 - f) (1 + cos(pi p)) / 2 (Loshchilov and Hutter 2017)
    - `inverse_square_root`: sqrt(w / (w + t)), t steps after a warm-up of w (Vaswani et al. 2017, eq. 3)
    - `warmup_stable_decay`: 1, then linear over the last `decay_fraction` of all steps (Hu et al. 2024)
    """
    warmup = schedule.warmup_steps
    remaining = max(steps - warmup, 1)
    final = schedule.final_fraction
    match schedule.kind:
        case "constant":
            after: optax.Schedule = optax.constant_schedule(1.0)
        case "linear":
            after = optax.linear_schedule(1.0, final, remaining)
        case "cosine":
            after = optax.cosine_decay_schedule(1.0, remaining, final)
        case "inverse_square_root":
            offset = max(warmup, 1)

            def after(step: Any) -> Any:
                # Optax asks for the time before the warm-up's end too, and drops the answer.
                return (offset / (offset + jnp.maximum(step, 0))) ** 0.5
        case "warmup_stable_decay":
            decay = min(max(round(steps * schedule.decay_fraction), 1), remaining)
            after = optax.linear_schedule(1.0, final, decay, transition_begin=remaining - decay)
    if warmup == 0:
        return after
    rise = optax.linear_schedule(1 / warmup, 1.0, max(warmup - 1, 1))
    return optax.join_schedules([rise, after], [warmup])


def decays(path: tuple[Any, ...]) -> bool:
    """Whether weight decay applies: to weights of products, not to biases, norms and embeddings."""
    return any(name.endswith("weight") for name in names_on_path(path))


def is_encoder_matrix(path: tuple[Any, ...]) -> bool:
    """Whether Muon applies: to the encoder's weights, not to what stands on it, which Jordan et al. leave to AdamW."""
    return decays(path) and names_on_path(path)[0] == "encoder"


def build_optimizer(config: schema.Config, rate: optax.Schedule, shares: Any = None) -> optax.GradientTransformation:
    """The optimizer, gradient clipping included, for the learning rate `rate` whose peak is 1.

    For parameters whose share of the learning rate is 0 (`shares`, see `learning_rates.py`) it keeps nothing.

    The step multiplies the updates by the highest learning rate. All of an update is in proportion to it, weight decay included.
    """
    settings = config.optimizer
    adamw = optax.adamw(
        rate,
        b1=settings.beta1,
        b2=settings.beta2,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        mask=lambda parameters: jax.tree_util.tree_map_with_path(lambda path, _: decays(path), parameters),
    )
    match settings:
        case schema.AdamW():
            optimizer = adamw
        case schema.Muon():
            muon = optax.contrib.muon(
                rate,
                beta=settings.momentum,
                weight_decay=settings.weight_decay,
                consistent_rms=0.2,
                # The last two axes are the matrix; scanned layers have one more in front.
                muon_weight_dimension_numbers=lambda parameters: jax.tree.map(
                    lambda leaf: optax.contrib.MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1), parameters
                ),
            )
            optimizer = optax.partition(
                {"muon": muon, "adamw": adamw},
                lambda parameters: jax.tree_util.tree_map_with_path(
                    lambda path, _: "muon" if is_encoder_matrix(path) else "adamw", parameters
                ),
            )
    if config.training.gradient_clip is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(config.training.gradient_clip), optimizer)
    frozen = jax.tree.map(is_frozen, shares)
    if any(jax.tree.leaves(frozen)):
        labels = jax.tree.map(lambda stays: "frozen" if stays else "learned", frozen)
        optimizer = optax.partition({"learned": optimizer, "frozen": optax.set_to_zero()}, labels)
    return optimizer
