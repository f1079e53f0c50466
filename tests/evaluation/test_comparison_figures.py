"""The figures of a comparison: means over seeds, and how far they can be trusted."""

import pytest

from transformer.evaluation.comparison_figures import interval


def test_the_interval_is_that_of_the_table():
    # Student's t with 2 degrees of freedom: 4.303 (any table); standard error of 0.4, 0.5, 0.6 is 0.1 / sqrt(3).
    found = interval([0.4, 0.5, 0.6])
    assert found["mean"] == 0.5
    assert found["high"] - 0.5 == pytest.approx(0.1 * 4.303 / 3**0.5, rel=1e-3)
    assert found["low"] == pytest.approx(1 - found["high"])
    assert interval([0.5]) == {"mean": 0.5, "low": None, "high": None}


@pytest.mark.parametrize("values", [[0.97, 0.985], [0.03, 0.015]])
def test_an_interval_of_shares_holds_shares(values):
    found = interval(values)
    assert 0 <= found["low"] < found["mean"] < found["high"] <= 1
