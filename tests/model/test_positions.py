"""Sinusoids by the paper's formula, and the property that rotary positions exist for."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transformer.model.positions import rotate, sinusoids


def test_sinusoids_are_the_papers():
    table = np.asarray(sinusoids(50, 8))
    for position in (0, 1, 7, 49):
        for pair in range(4):
            angle = position / 10000 ** (2 * pair / 8)
            np.testing.assert_allclose(table[position, 2 * pair : 2 * pair + 2], [np.sin(angle), np.cos(angle)], atol=1e-5)


def test_a_shift_is_one_rotation_for_all_positions():
    # "For any fixed offset k, PE(p + k) is a linear function of PE(p)" (Vaswani et al. 2017, section 3.5).
    table = np.asarray(sinusoids(40, 8), np.float64)
    shift, *_ = np.linalg.lstsq(table[:30], table[5:35], rcond=None)
    np.testing.assert_allclose(table[:30] @ shift, table[5:35], atol=1e-5)


@given(first=st.integers(0, 20), second=st.integers(0, 20), offset=st.integers(0, 11), seed=st.integers(0, 99))
def test_inner_products_of_rotated_vectors_depend_on_the_distance_only(first, second, offset, seed):
    query, key = jax.random.normal(jax.random.key(seed), (2, 1, 1, 32, 6))

    def product(i, j):
        positions = jnp.full((1, 32), i), jnp.full((1, 32), j)
        return (rotate(query, positions[0]) * rotate(key, positions[1])).sum(axis=-1)

    np.testing.assert_allclose(product(first, second), product(first + offset, second + offset), atol=2e-4)


def test_the_base_sets_how_fast_the_pairs_turn():
    x = jax.random.normal(jax.random.key(0), (1, 1, 8, 4))
    turned = rotate(x, jnp.arange(8)[None], 100.0)
    # The second of two pairs turns by 100**(-2/4) = 0.1 radian a position.
    expected = x[0, 0, 7, 1] * np.cos(0.7) - x[0, 0, 7, 3] * np.sin(0.7)
    np.testing.assert_allclose(turned[0, 0, 7, 1], expected, rtol=1e-4)


def test_rotation_keeps_lengths_and_turns():
    x = jax.random.normal(jax.random.key(0), (1, 2, 16, 8))
    turned = rotate(x, jnp.arange(16)[None])
    np.testing.assert_allclose(jnp.square(turned).sum(-1), jnp.square(x).sum(-1), rtol=1e-5)
    np.testing.assert_array_equal(turned[:, :, 0], x[:, :, 0])
    # The first pair is elements 0 and 4, and turns by one radian a position.
    np.testing.assert_allclose(turned[0, 0, 3, 0], x[0, 0, 3, 0] * np.cos(3.0) - x[0, 0, 3, 4] * np.sin(3.0), rtol=1e-4)
