"""Dropout keeps the mean, and its hash has the statistics of independent draws. All seeds are fixed: these tests cannot fail by chance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from transformer.model.dropout import dropout, keep_mask, random_bits

SHAPE = (32, 64, 64)
SIZE = np.prod(SHAPE)


def bits(key, shape=SHAPE):
    return np.asarray(random_bits(shape, key))


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3, 0.5, 0.9])
def test_each_rate_is_met_over_many_keys(rate):
    dropped = np.array([1 - np.asarray(keep_mask(SHAPE, rate, jax.random.key(seed))).mean() for seed in range(20)])
    deviations = (dropped - rate) / np.sqrt(rate * (1 - rate) / SIZE)
    assert abs(deviations.sum()) / np.sqrt(20) < 4
    assert stats.kstest(deviations, "norm").pvalue > 0.001


def test_bits_are_uniform():
    for seed in range(4):
        values = bits(jax.random.key(seed)).ravel()
        for shift in (0, 8, 16, 24):
            counts = np.bincount((values >> shift) & 0xFF, minlength=256)
            assert stats.chisquare(counts).pvalue > 1e-4, (seed, shift)
        ones = np.unpackbits(values.view(np.uint8)).reshape(-1, 32).mean(axis=0)
        assert np.abs(ones - 0.5).max() * 2 * np.sqrt(SIZE) < 5


def independent(a, b, what):
    """The chi-square test of a 16 x 16 table: `a` tells nothing about `b`."""
    table = np.bincount((a.ravel() >> 28).astype(int) * 16 + (b.ravel() >> 28), minlength=256).reshape(16, 16)
    assert stats.chi2_contingency(table).pvalue > 1e-4, what


def test_neighbours_are_independent():
    values = bits(jax.random.key(0))
    for lag in (1, 2, 3, 4, 7, 8, 16, 31):
        independent(values[:, :, :-lag], values[:, :, lag:], f"width {lag}")
        independent(values[:, :-lag], values[:, lag:], f"length {lag}")
        independent(values[:-lag], values[lag:], f"batch {lag}")


def test_steps_layers_and_sublayers_are_independent():
    key = jax.random.key(0)
    base = bits(key)
    for index in range(1, 9):
        independent(base, bits(jax.random.key(index)), f"seed {index}")
        independent(bits(jax.random.fold_in(key, 0)), bits(jax.random.fold_in(key, index)), f"folded {index}")
    independent(
        bits(jax.random.fold_in(jax.random.fold_in(key, 0), 1)), bits(jax.random.fold_in(jax.random.fold_in(key, 1), 0)), "order of folding"
    )


def test_keys_that_differ_in_one_bit_give_unrelated_masks_and_not_permutations():
    data = jax.random.key_data(jax.random.key(0))
    base = bits(jax.random.key(0))
    for word in range(2):
        for bit in (0, 1, 5, 17, 31):
            other = bits(jax.random.wrap_key_data(data.at[word].set(data[word] ^ jnp.uint32(1 << bit))))
            independent(base, other, (word, bit))
    # A permutation would have the same sum.
    second = data.at[1].set(data[1] ^ jnp.uint32(1))
    assert np.sort(base.ravel()).tolist() != np.sort(bits(jax.random.wrap_key_data(second)).ravel()).tolist()


def test_one_changed_index_bit_changes_half_of_the_bits():
    values = bits(jax.random.key(3), (2**16,))
    for bit in range(16):
        flips = np.unpackbits((values ^ values[np.arange(2**16) ^ (1 << bit)]).view(np.uint8)).reshape(-1, 32).mean(axis=0)
        assert np.abs(flips - 0.5).max() < 0.02, bit


def test_the_mean_stays_and_the_gradient_uses_the_same_mask():
    x = jnp.ones((64, 64))
    key = jax.random.key(0)
    result, pullback = jax.vjp(lambda x: dropout(x, 0.2, key), x)
    np.testing.assert_array_equal(np.unique(result), np.array([0.0, 1.25], np.float32))
    np.testing.assert_array_equal(pullback(x)[0], result)
    assert abs(result.mean() - 1) < 0.03


def test_without_a_key_or_a_rate_nothing_changes():
    x = jnp.arange(8.0)
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, jax.random.key(0)) is x


def test_the_mask_is_a_function_of_key_and_index():
    x = jnp.ones((16, 8))
    eager, compiled = dropout(x, 0.5, jax.random.key(1)), jax.jit(lambda key: dropout(x, 0.5, key))(jax.random.key(1))
    np.testing.assert_array_equal(eager, compiled)
    # Rows before are the same whatever rows follow.
    np.testing.assert_array_equal(dropout(x[:4], 0.5, jax.random.key(1)), eager[:4])
    # Any change here breaks exact resuming across versions.
    assert bits(jax.random.key(1), (3,)).tolist() == [2229621924, 819315016, 1153401510]
