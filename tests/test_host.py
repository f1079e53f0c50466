import os

import pytest

from transformer import host


@pytest.mark.parametrize(
    ("limit", "cores"), [(None, 6), ("max 100000", 6), ("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1), ("9 1", 6)]
)
def test_usable_cores_are_those_allowed_and_no_more_than_a_container_pays_for(limit, cores, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(host, "CONTAINER_LIMIT", tmp_path / "cpu.max")
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit + "\n")
    assert host.usable_cores() == cores
