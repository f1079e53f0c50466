"""What a benchmark says follows from its rounds, and its rounds are fair."""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from benchmarks.report import row_figures, table_markdown
from benchmarks.rounds import Measured, Worker, WorkerError, measure, speed_ratio

FAKE = """
import time
from pathlib import Path
import numpy as np
from benchmarks.work import Batch, Competitor

def competitor(name, log, seconds=0.0, mebibytes=0, loss=1.0, diverges=""):
    print("a library that prints while it is built")
    kept = np.ones((mebibytes, 2**17))

    def run(passes):
        print("and while it runs")
        started = time.monotonic()
        time.sleep(seconds * passes)
        with Path(log).open("a") as file:
            file.write(f"{name} {started} {time.monotonic()}\\n")
        return float("nan") if diverges and Path(diverges).exists() else loss + 0 * len(kept)

    mask = np.ones((2, 3), bool)
    mask[1, 2] = False
    return Competitor(run, 7, [Batch(mask.astype("int32"), mask, np.zeros(2, "int32"))] * 2)

def broken():
    raise ValueError("it needs a compiler")
"""


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., Worker]:
    (tmp_path / "fake.py").write_text(FAKE)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    def start(function: str = "competitor", **settings: object) -> Worker:
        return Worker(sys.executable, f"fake:{function}", settings, {"PYTHONPATH": path})

    return start


def test_a_ratio_is_taken_within_a_round() -> None:
    # The machine is four times as slow in the last round: of both, so it does not show.
    ratio = speed_ratio([1.0, 1.2, 4.0], [0.5, 0.4, 2.0])
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 3.0))


def test_competitors_take_turns_and_never_work_together(fake: Callable[..., Worker], tmp_path: Path) -> None:
    log = tmp_path / "log"
    starts = {
        "slow": partial(fake, name="slow", log=str(log), seconds=0.04),
        "fails": partial(fake, "broken"),
        "diverges": partial(fake, name="diverges", log=str(log), loss=float("nan")),
        "fast": partial(fake, name="fast", log=str(log), seconds=0.02, mebibytes=64),
    }
    rows, failures = measure(starts, rounds=3, round_seconds=0.1, tell=lambda _: None)

    slow, fast = rows
    assert (slow.name, fast.name) == ("slow", "fast")
    assert (slow.parameters, slow.steps, slow.real_tokens, slow.computed_tokens) == (7, 2, 10, 12)
    assert 1 <= slow.passes <= 3  # as many as fill a tenth of a second
    assert min(slow.step_seconds) >= 0.02  # a pass is two steps
    if sys.platform == "linux":
        assert slow.peak_bytes is not None
        assert fast.peak_bytes is not None
        assert 50 * 2**20 < fast.peak_bytes - slow.peak_bytes < 80 * 2**20
    assert "it needs a compiler" in failures["fails"]
    assert "the loss is nan" in failures["diverges"]

    runs = [line.split() for line in log.read_text().splitlines()]
    ends = [float(end) for _, _, end in runs]
    assert all(float(start) >= end for (_, start, _), end in zip(runs[1:], ends, strict=False))
    assert [name for name, _, _ in runs[-6:]] == ["slow", "fast", "fast", "slow", "slow", "fast"]


def test_who_dies_in_a_later_round_is_left_out_and_the_others_go_on(fake: Callable[..., Worker], tmp_path: Path) -> None:
    log, diverges = str(tmp_path / "log"), tmp_path / "diverges"
    alive: dict[str, Worker] = {}

    def start(name: str, **settings: object) -> Worker:
        alive[name] = fake(name=name, log=log, seconds=0.02, **settings)
        return alive[name]

    def say(message: str) -> None:
        if "round 2" in message:
            diverges.touch()
            alive["killed"]._process.kill()

    starts = {
        "diverges": partial(start, "diverges", diverges=str(diverges)),
        "killed": partial(start, "killed"),
        "steady": partial(start, "steady"),
    }
    rows, failures = measure(starts, rounds=4, round_seconds=0.05, tell=say)
    assert [(row.name, len(row.step_seconds)) for row in rows] == [("steady", 4)]
    assert failures == {"killed": "out of memory", "diverges": failures["diverges"]}
    assert "the loss is nan" in failures["diverges"]
    assert all(worker._process.poll() is not None for worker in alive.values())


def test_a_worker_that_dies_says_why(fake: Callable[..., Worker], tmp_path: Path) -> None:
    worker = fake(name="x", log=str(tmp_path / "no" / "such" / "folder"))
    worker.answer()
    with pytest.raises(WorkerError, match="No such file or directory"):
        worker.run(1)
    worker.close()


def test_a_row_says_what_was_measured() -> None:
    reference = Measured("theirs", 1000, 1, 50, 100, 2.0, 5, [0.100, 0.110, 0.120], 2**30, 0.5)
    # Half the padding: as long for a step of twice the real tokens.
    row = Measured("ours", 1000, 2, 200, 200, 3.0, 5, [0.100, 0.110, 0.120], 2**29, 0.5)
    figures = row_figures(row, reference)
    assert figures["speed"]["median"] == pytest.approx(2.0)
    assert figures["real_tokens_per_second"] == pytest.approx(100 / 0.110)
    assert (figures["real_share"], figures["memory_ratio"]) == (1.0, 0.5)
    json.dumps(figures)

    text = table_markdown("A table", [row_figures(reference, reference), figures], {"other": "line\nno compiler"})
    assert "| theirs |  1.00 |" in text
    assert "| ours   |  2.00 |" in text
    assert "Not measured: other: no compiler" in text
