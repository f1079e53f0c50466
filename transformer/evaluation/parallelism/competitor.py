"""A model of the study in a process of its own."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from transformer.config.errors import RunError
from transformer.config.parallelism import ParallelismStudy, Subject
from transformer.evaluation.parallelism.process import OUT_OF_MEMORY, WorkerError, WorkerProcess
from transformer.host import usable_cores

NO_CACHE = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
"""Compilation is measured, so it must take place."""


class Competitor:
    """A model in a process of its own, which is started anew where it has died."""

    def __init__(self, study: ParallelismStudy, subject: Subject, cores: int | None) -> None:
        """Make it, for so many cores (None for no limit)."""
        self.name, self.cores = subject.name, cores
        model = {
            "encoder": subject.encoder.model_dump(),
            "vocabulary_size": study.vocabulary_size,
            "classes": study.classes,
            "maximum_length": max(study.lengths),
        }
        self._described = json.dumps({"cores": cores, "model": model})
        self._worker: WorkerProcess | None = None
        self._size: int | None = None

    def start(self) -> None:
        """Start the process, unless it runs; it begins to build the model."""
        if self._worker is None:
            command = [sys.executable, "-m", "transformer.evaluation.parallelism.worker", self._described]
            self._worker, self._size = WorkerProcess(command, NO_CACHE), None

    def size(self) -> int:
        """Number of parameters without embeddings; waits until the model is built.

        Raises RunError where it cannot be built.
        """
        self.start()
        assert self._worker is not None
        if self._size is None:
            try:
                self._size = int(self._worker.answer()["parameters_without_embeddings"])
            except WorkerError as error:
                raise RunError(f"{self.name}: the process that measures it did not start: {error}") from error
        return self._size

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a question, or {"failure": why}, after which the next question goes to a new process."""
        self.size()
        assert self._worker is not None
        try:
            answer: dict[str, Any] = self._worker.ask({"do": do, **arguments})
        except WorkerError as error:
            self.close()
            return {"failure": OUT_OF_MEMORY if error.killed else str(error).splitlines()[-1]}
        return answer

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None


def core_settings(device: str) -> Sequence[int | None]:
    """With how many cores to measure: one and all on a CPU, where the system lets a process choose; otherwise no choice."""
    if device != "cpu":
        return [None]
    if not hasattr(os, "sched_setaffinity"):
        return [usable_cores()]
    return sorted({1, usable_cores()})
