"""Worker processes that stay alive together and take turns, and what their times say."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from transformer.evaluation.parallelism.process import OUT_OF_MEMORY, WorkerError, WorkerProcess, turns

ROOT = Path(__file__).resolve().parent.parent
WARM_SECONDS = 0.5
"""A competitor is warm when it has run this long after its first step."""


class Worker(WorkerProcess):
    """One competitor in a process of its own."""

    def __init__(self, python: str, build: str, settings: dict[str, Any], environment: dict[str, str]):
        super().__init__([python, "-m", "benchmarks.worker", json.dumps({"build": build, "settings": settings})], environment)

    def run(self, passes: int) -> dict[str, Any]:
        """Make that many passes over the competitor's batches.

        The answer has `seconds`, `loss` and `peak_bytes` (resident; None where the system does not tell).
        """
        return self.ask(passes)


@dataclass
class Measured:
    """One competitor's figures: times in seconds, memory in bytes."""

    name: str
    parameters: int
    steps: int
    """Training steps in a pass over the batches."""
    real_tokens: int
    """Tokens of texts in a pass."""
    computed_tokens: int
    """The same with padding."""
    start_seconds: float
    """From the start of the process to the end of its first pass: imports, building, compiling."""
    passes: int
    """Passes in a round."""
    step_seconds: list[float]
    """Mean time of a step in each round."""
    peak_bytes: int | None
    """Highest resident memory of the process, from its start to its last round."""
    loss: float
    """Loss after the last round."""

    def token_seconds(self) -> list[float]:
        """Time for each real token in each round."""
        return [seconds * self.steps / self.real_tokens for seconds in self.step_seconds]


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' ratios, with the lowest and the highest of them."""

    median: float
    low: float
    high: float


def speed_ratio(reference: Sequence[float], times: Sequence[float]) -> Ratio:
    """How many times as fast as the reference: its time over ours, round by round, because what slows the machine slows both of a round."""
    ratios = [theirs / ours for theirs, ours in zip(reference, times, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))


def warm_up(name: str, start: Callable[[], Worker], round_seconds: float) -> tuple[Worker, Measured]:
    """Start a worker, run it until it is warm, and choose how many passes fill a round."""
    started = time.perf_counter()
    worker = start()
    try:
        facts = worker.answer()
        worker.run(1)
        start_seconds = time.perf_counter() - started
        fastest, spent, passes = math.inf, 0.0, 1
        while spent < WARM_SECONDS:
            seconds = worker.run(passes)["seconds"]
            fastest, spent, passes = min(fastest, seconds / passes), spent + seconds, passes * 2
    except WorkerError:
        worker.close()
        raise
    passes = math.ceil(round_seconds / fastest)
    return worker, Measured(name, **facts, start_seconds=start_seconds, passes=passes, step_seconds=[], peak_bytes=None, loss=math.nan)


def measure(
    starts: dict[str, Callable[[], Worker]], rounds: int, round_seconds: float, tell: Callable[[str], None]
) -> tuple[list[Measured], dict[str, str]]:
    """Measure competitors in turn, one at work at a time. Those that fail come back as names with reasons."""
    workers: dict[str, tuple[Worker, Measured]] = {}
    failures: dict[str, str] = {}

    def fail(name: str, failure: WorkerError) -> None:
        failures[name] = OUT_OF_MEMORY if failure.killed else str(failure)
        tell(f"  failed: {failures[name].splitlines()[-1]}")

    try:
        for name, start in starts.items():
            tell(f"  starting {name}")
            try:
                workers[name] = warm_up(name, start, round_seconds)
            except WorkerError as failure:
                fail(name, failure)
        for number, names in enumerate(turns(rounds, list(workers))):
            tell(f"  round {number + 1} of {rounds}")
            for name in [name for name in names if name in workers]:
                worker, measured = workers[name]
                try:
                    answer = worker.run(measured.passes)
                except WorkerError as failure:
                    fail(name, failure)
                    worker.close()
                    del workers[name]
                    continue
                measured.step_seconds.append(answer["seconds"] / measured.passes / measured.steps)
                measured.loss, measured.peak_bytes = answer["loss"], answer["peak_bytes"]
    finally:
        for worker, _ in workers.values():
            worker.close()
    return [measured for _, measured in workers.values()], failures
