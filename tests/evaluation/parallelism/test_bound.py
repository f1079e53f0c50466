"""Brent's bound, and where the bounds of two models cross."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.evaluation.parallelism.bound import PROCESSORS, Rates, bounds_and_crossings, brent_bound, crossing
from transformer.evaluation.parallelism.work_span import WorkSpan

RATES = Rates(operations_per_second_one_core=1e9, seconds_per_dependent_operation=1e-7)
COUNTS = st.builds(WorkSpan, work=st.integers(1, 10**12), span=st.integers(1, 10**6))


def test_the_bound_is_work_over_processors_and_span():
    count = WorkSpan(work=10**9, span=10**6)
    assert brent_bound(count, 1, RATES) == pytest.approx(1.1)
    assert brent_bound(count, 10, RATES) == pytest.approx(0.2)
    assert brent_bound(count, 2**20, RATES) == pytest.approx(0.1, rel=0.02)


@given(challenger=COUNTS, incumbent=COUNTS)
def test_from_the_crossing_on_the_challenger_is_faster_and_not_before(challenger, incumbent):
    processors = crossing(challenger, incumbent, RATES)

    def ahead(p: int) -> float:
        return brent_bound(incumbent, p, RATES) - brent_bound(challenger, p, RATES)

    if processors is None:
        assert ahead(10**15) <= 1e-12
    else:
        rounding = 1e-9 * brent_bound(incumbent, processors, RATES)
        assert ahead(processors) > -rounding
        assert ahead(10 * processors) > -rounding
        assert processors == 1 or ahead(processors - 1) <= rounding


def test_rows_for_every_model_at_every_shape():
    models = [{"name": "t", "family": "attention"}, {"name": "r", "family": "recurrence"}]
    shapes = [("forward", 1, 32), ("training", 16, 64)]
    counted = [
        {"model": model, "mode": mode, "batch": batch, "length": length, "work": work, "span": span}
        for mode, batch, length in shapes
        for model, work, span in [("t", 10**9, 100), ("r", 10**8, 10**5)]
    ]
    rows = bounds_and_crossings(models, counted, RATES)
    assert len(rows["bounds"]) == 2 * 2 * len(PROCESSORS)
    assert [(row["model"], row["against"], row["mode"], row["batch"], row["length"]) for row in rows["crossings"]] == [
        ("r", "t", *shape) for shape in shapes
    ]
    # 0.9 s of work more, 9.99 ms of span less
    assert {row["processors"] for row in rows["crossings"]} == {91}
    assert bounds_and_crossings(models[1:], counted, RATES)["crossings"] == []
