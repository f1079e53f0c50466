"""Bytes that a compiled program moves."""

import jax
import jax.numpy as jnp
import pytest

from transformer.evaluation.parallelism.program import read_program
from transformer.evaluation.parallelism.traffic import traffic


def moved(function, *arguments) -> int:
    return traffic(read_program(jax.jit(function).lower(*arguments).compile().as_text()))


def test_a_product_reads_its_factors_and_writes_its_result():
    assert moved(lambda a, b: a @ b, jnp.ones((8, 16)), jnp.ones((16, 4))) == 4 * (8 * 16 + 16 * 4 + 8 * 4)


def test_a_fusion_keeps_what_is_between_in_registers():
    assert moved(lambda x: jnp.tanh(jnp.sin(x) + 1), jnp.ones(100)) == 4 * 200


def test_a_scan_reads_and_writes_each_slice_once():
    def scan(x, inputs):
        return jax.lax.scan(lambda state, each: (jnp.tanh(state + each), state), x, inputs)[1]

    short, long = (moved(scan, jnp.ones(256), jnp.ones((n, 256))) for n in (20, 40))
    assert long == pytest.approx(2 * short, rel=0.05)
    assert long >= 40 * 4 * 256 * 3  # an input, a state and an output at each step
