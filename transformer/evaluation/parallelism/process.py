"""Processes that are asked and answer in lines of JSON, one at work at a time, so that none disturbs another's measurement."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

ROOT = Path(__file__).parents[3]
OUT_OF_MEMORY = "out of memory"
T = TypeVar("T")


class WorkerError(Exception):
    """The process ended without an answer; the message is the end of what it wrote."""

    def __init__(self, message: str, killed: bool) -> None:
        """`killed` says that it was ended by SIGKILL, as Linux does where memory runs out."""
        super().__init__(message)
        self.killed = killed


class WorkerProcess:
    """A process that reads a line of JSON and answers with another, until it is closed. What it writes besides is kept for errors."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the command in the project's directory, with these variables added to the environment."""
        self._log: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `close`)
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def answer(self) -> Any:
        """The next answer. Raises WorkerError where the process has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._log.seek(0)
            written = self._log.read().strip().splitlines() or [f"exit code {code}"]
            raise WorkerError("\n".join(written[-15:]), code == -signal.SIGKILL)
        return json.loads(line)

    def ask(self, question: Any) -> Any:
        """Send a question and wait for its answer. Raises WorkerError where the process has ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer says why
            print(json.dumps(question), file=self._process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.communicate()
        self._log.close()


def answer_stream() -> IO[str]:
    """In the process that answers: standard output for answers alone; what libraries print goes to the log from now on."""
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return stream


def turns(rounds: int, all_of_them: list[T]) -> list[list[T]]:
    """Whose turn it is: in order, then in reverse order, and so on, so that a drift of the machine's speed favours nobody."""
    return [all_of_them if number % 2 == 0 else all_of_them[::-1] for number in range(rounds)]
