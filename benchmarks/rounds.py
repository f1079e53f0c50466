"""Worker processes that stay alive together and take turns, and what their times say."""

import json
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
WARM_SECONDS = 0.5
"""A competitor is warm when it has run this long after its first step."""


class WorkerFailed(Exception):
    """The worker ended without an answer; the message is the end of what it wrote."""


class Worker:
    """One competitor in a process of its own, asked and answered in lines of JSON."""

    def __init__(self, python: str, build: str, settings: dict[str, Any], environment: dict[str, str]):
        self._log: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `close`)
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", json.dumps({"build": build, "settings": settings})],
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            written = self._log.read().strip().splitlines() or [f"exit code {self._process.returncode}"]
            raise WorkerFailed("\n".join(written[-15:]))
        return json.loads(line)  # type: ignore[no-any-return]

    def run(self, steps: int) -> dict[str, Any]:
        """Run that many training steps; the answer has `seconds`, `loss` and `peak_bytes` (resident, None where it is not known)."""
        assert self._process.stdin is not None
        try:
            print(steps, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # the answer says why
        return self.answer()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()


@dataclass
class Measured:
    """One competitor's figures: times in seconds, memory in bytes."""

    name: str
    parameters: int
    tokens: int
    """Real tokens that one step trains on."""
    start_seconds: float
    """From the start of the process to the end of its first step: imports, building, compiling."""
    steps: int
    """Steps in a round."""
    step_seconds: list[float]
    """Mean time of a step in each round."""
    loss: float
    """Loss after the last round."""
    peak_bytes: int | None
    """Highest resident memory of the process, from its start to its last round."""


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


def turns(rounds: int, competitors: int) -> list[list[int]]:
    """Whose turn it is: in order, then in reverse order, and so on, so that a drift of the machine's speed favours nobody."""
    order = list(range(competitors))
    return [order if number % 2 == 0 else order[::-1] for number in range(rounds)]


def warm_up(name: str, start: Callable[[], Worker], round_seconds: float) -> tuple[Worker, Measured]:
    """Start a worker, run it until it is warm, and choose how many steps fill a round."""
    started = time.perf_counter()
    worker = start()
    try:
        built = worker.answer()
        worker.run(1)
        start_seconds = time.perf_counter() - started
        fastest, spent, steps = math.inf, 0.0, 1
        while spent < WARM_SECONDS:
            seconds = worker.run(steps)["seconds"]
            fastest, spent, steps = min(fastest, seconds / steps), spent + seconds, steps * 2
    except WorkerFailed:
        worker.close()
        raise
    steps = math.ceil(round_seconds / fastest)
    return worker, Measured(name, built["parameters"], built["tokens"], start_seconds, steps, [], math.nan, None)


def measure(
    starts: dict[str, Callable[[], Worker]], rounds: int, round_seconds: float, say: Callable[[str], None]
) -> tuple[list[Measured], dict[str, str]]:
    """Measure competitors in turn, one at work at a time. Those that fail to start come back as names with reasons."""
    workers: list[tuple[Worker, Measured]] = []
    failures: dict[str, str] = {}
    try:
        for name, start in starts.items():
            say(f"  starting {name}")
            try:
                workers.append(warm_up(name, start, round_seconds))
            except WorkerFailed as failure:
                failures[name] = str(failure)
                say(f"  failed: {failures[name].splitlines()[-1]}")
        for number, order in enumerate(turns(rounds, len(workers))):
            say(f"  round {number + 1} of {rounds}")
            for index in order:
                worker, measured = workers[index]
                answer = worker.run(measured.steps)
                measured.step_seconds.append(answer["seconds"] / measured.steps)
                measured.loss, measured.peak_bytes = answer["loss"], answer["peak_bytes"]
    finally:
        for worker, _ in workers:
            worker.close()
    return [measured for _, measured in workers], failures
