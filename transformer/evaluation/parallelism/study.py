"""The study: every model at every shape of batch, counted, measured in turns, and bounded."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from transformer.config.errors import RunError
from transformer.config.parallelism import ParallelismStudy
from transformer.evaluation.fairness import require_one_size
from transformer.evaluation.parallelism.bound import Rates, bounds_and_crossings
from transformer.evaluation.parallelism.competitor import Competitor, core_settings
from transformer.evaluation.parallelism.process import OUT_OF_MEMORY, turns

MODES = ("forward", "training")
STEP_SECONDS = 2.5
"""What one step's compilation and rounds take, roughly; for the estimate at the start."""


def run_study(study: ParallelismStudy, device: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """Count and measure; returns {"models", "counted", "measured", "rates", "bounds", "crossings"} of benchmark.json.

    Args:
        device: "cpu", or another of JAX's backends, which then is what is measured.
        tell: told of the progress, line by line.

    Raises:
        UsageError: the models are not of one size.
        RunError: a process did not start, or a program holds an operation that cannot be counted.
    """
    settings = core_settings(device)
    points = list(itertools.product(MODES, study.shapes()))
    steps = len(points) * len(study.models) * len(settings)
    tell(f"{steps} steps to compile and measure ({len(study.models)} models): about {math.ceil(steps * STEP_SECONDS / 60)} minutes")
    measuring = [Competitor(study, subject, cores) for cores in settings for subject in study.models]
    # Programs for other devices hide products in calls of libraries. Work and span are the same everywhere, so a CPU's file has them.
    counting = measuring[: len(study.models)] if device == "cpu" else []
    try:
        for competitor in measuring:
            competitor.start()
        models = _models(study, measuring)
        rates = _succeeded(measuring[0].ask("rates"), "rates") if settings[0] == 1 else None
        counted, measured = [], []
        started = time.monotonic()
        for number, (mode, (batch, length)) in enumerate(points, start=1):
            what = {"mode": mode, "batch": batch, "length": length}
            asked = [(competitor, "prepare") for competitor in measuring] + [(competitor, "count") for competitor in counting]
            answers = _ask(asked, what, together=device != "cpu")
            counted += [row for competitor in counting for row in _counted(competitor, answers[competitor, "count"], what)]
            rows = list(_measure({competitor: answers[competitor, "prepare"] for competitor in measuring}, what, study))
            measured += rows
            remaining = (time.monotonic() - started) / number * (len(points) - number)
            tell(_progress(number, len(points), what, rows, remaining))
    finally:
        for competitor in measuring:
            competitor.close()
    figures = {"models": models, "counted": counted, "measured": measured, "rates": rates, "bounds": [], "crossings": []}
    if rates is not None:
        speed = Rates(rates["operations_per_second_one_core"], rates["seconds_per_dependent_operation"])
        figures |= bounds_and_crossings(models, counted, speed)
    return figures


def _models(study: ParallelismStudy, measuring: list[Competitor]) -> list[dict[str, Any]]:
    sizes = {competitor.name: competitor.size() for competitor in measuring}
    require_one_size(sizes, "by the sizes of an encoder under models, for example")
    return [
        {
            "name": subject.name,
            "family": subject.encoder.family,
            "parameters_without_embeddings": sizes[subject.name],
            "width": subject.encoder.width,
            "layers": subject.encoder.layers,
        }
        for subject in study.models
    ]


def _ask(questions: list[tuple[Competitor, str]], what: dict[str, Any], together: bool) -> dict[tuple[Competitor, str], dict[str, Any]]:
    """The answer to each question about a step: one after the other where processors are measured, which compiling would disturb."""
    with ThreadPoolExecutor(len(questions) if together else 1) as pool:
        return dict(zip(questions, pool.map(lambda question: question[0].ask(question[1], **what), questions), strict=True))


def _counted(competitor: Competitor, answer: dict[str, Any], what: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The row of a model; none where even compiling took too much memory."""
    if answer.get("failure") != OUT_OF_MEMORY:
        counted = _succeeded(answer, f"{competitor.name}, {_named(what)}")
        yield {"model": competitor.name, **what, **counted, "parallelism": counted["work"] / max(counted["span"], 1)}


def _succeeded(answer: dict[str, Any], what: str) -> dict[str, Any]:
    if "failure" in answer:
        raise RunError(f"{what}: {answer['failure']}")
    return answer


def _named(what: dict[str, Any]) -> str:
    return f"{what['mode']} {what['batch']} × {what['length']}"


def _measure(answers: dict[Competitor, dict[str, Any]], what: dict[str, Any], study: ParallelismStudy) -> Iterator[dict[str, Any]]:
    """Measure one step of every competitor, which has prepared it and so answered, one at work at a time; a row each."""
    seconds: dict[Competitor, list[float]] = {competitor: [] for competitor in answers}
    for order in turns(study.rounds, list(answers)):
        for competitor in order:
            if "failure" not in answers[competitor]:
                steps = math.ceil(study.round_seconds / answers[competitor]["seconds"])
                answers[competitor] |= (ran := competitor.ask("run", steps=steps))
                seconds[competitor] += [ran["seconds"]] if "seconds" in ran else []
    for competitor, answer in answers.items():
        failed = "failure" in answer
        times = [] if failed else seconds[competitor]
        yield {
            "model": competitor.name,
            **what,
            "cores": competitor.cores,
            "median": median(times) if times else None,
            "low": min(times, default=None),
            "high": max(times, default=None),
            "real_tokens_per_second": what["batch"] * what["length"] / median(times) if times else None,
            "peak_bytes": answer.get("peak_bytes"),
            "compile_seconds": answer.get("compile_seconds"),
            "failure": answer.get("failure"),
        }


def _progress(number: int, points: int, what: dict[str, Any], rows: list[dict[str, Any]], remaining: float) -> str:
    best: dict[str, float] = {}
    for row in rows:
        best[row["model"]] = row["median"] and 1000 * row["median"]  # that of all cores comes last
    times = ", ".join(f"{name} {_rounded(ms)}" for name, ms in best.items())
    return f"{number}/{points} {_named(what)}: {times} ms; {remaining / 60:.0f} minutes left"


def _rounded(ms: float | None) -> str:
    if not ms:
        return "failed"
    return f"{ms:.3g}" if ms < 100 else f"{ms:,.0f}"
