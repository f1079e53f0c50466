"""How order is told: sinusoids added to the embeddings, or rotations of queries and keys."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

BASE = 10000.0


def sinusoids(length: int, width: int) -> Float[Array, "length width"]:
    """sin(p / 10000**(2 i / width)) at 2 i and the cosine at 2 i + 1, for positions p < length (Vaswani et al. 2017, section 3.5)."""
    angles = _angles(jnp.arange(length), width, BASE)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(length, width)


def rotate(
    x: Float[Array, "batch heads length head_dim"], positions: Int[Array, "batch length"], base: float = BASE
) -> Float[Array, "batch heads length head_dim"]:
    """Turn pair i of each vector by the angle p / base**(2 i / head_dim), p being its position (RoFormer, Su et al. 2021, equation 34).

    The inner product of two rotated vectors then depends on their positions only through the difference. Pair i is made of elements i and
    i + head_dim / 2, where the paper has 2 i and 2 i + 1: the same up to a permutation of the weights, and without strided access.

    Args:
        positions: each below length.
        base: 10000 in the paper; a larger one turns more slowly, so that longer distances are told apart.
    """
    length, head_dim = x.shape[2:]
    # The table is small and the gather is cheap; sines and cosines of every token of the batch are not.
    angles = _angles(jnp.arange(length), head_dim, base)
    cosine = jnp.cos(angles)[positions][:, None]
    sine = jnp.sin(angles)[positions][:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def _angles(positions: Int[Array, " length"], width: int, base: float) -> Float[Array, "length pairs"]:
    frequencies = base ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    return positions[:, None].astype(jnp.float32) * frequencies
