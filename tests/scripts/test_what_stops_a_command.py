"""What may stop any command, whatever it was told: a full disk, too little memory, an interrupt, a file or a stream it may not have."""

import errno
import itertools
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from transformer.config.errors import RunError, run_command
from transformer.training import loop

ROOT = Path(__file__).parents[2]


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_before_the_first_step(refuse, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    refuse(["runs/tiny", "No space left on device", "make room", "--run-dir"], "train", "config.yaml")


def test_a_disk_that_is_full_at_a_checkpoint(work, command, capsys, monkeypatch):
    """The run is refused before anything of the checkpoint is written, and the same command goes on once there is room."""
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=2**20))
    assert command("train", "config.yaml") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: a checkpoint could not be written to")
    assert "No space left on device: it needs" in error
    assert "run the same command again" in error
    assert not any((work / "runs" / "tiny" / "checkpoints").iterdir())
    monkeypatch.undo()
    monkeypatch.chdir(work)
    assert command("train", "config.yaml") == 0


def test_a_disk_that_is_full_in_a_librarys_writer(capsys):
    """Orbax's writer tells of a full disk in words alone, and others without a RunError around it."""
    for error in (RunError("no checkpoint"), OSError(errno.ENOSPC, "No space left on device")):
        error.__cause__ = ValueError("RESOURCE_EXHAUSTED: Failed to write 9 bytes: No space left on device [os_error_code='28']")

        def fail(error=error):
            raise error

        with pytest.raises(SystemExit) as leaving:
            run_command(fail)
        assert leaving.value.code == 2
        assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((2_000_000, 2_000_000), np.dtype(np.float32)),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 16000000000000 bytes.\nBuffer assignment: ..."),
    ],
    ids=["Python", "NumPy", "JAX"],
)
def test_too_little_memory(work, command, capsys, monkeypatch, error):
    def allocate(*_):
        raise error

    monkeypatch.setattr(loop, "build_experiment", allocate)
    assert command("train", "config.yaml") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: too little memory (")
    for key in ("batching.tokens", "model.width", "training.accumulation"):
        assert key in line


def test_an_interrupt_before_the_first_step(work, command, capsys, monkeypatch):
    # Python's own handler, which a process that was started in the background lacks.
    monkeypatch.setattr(loop, "build_experiment", lambda *_: signal.default_int_handler(signal.SIGINT, None))
    assert command("train", "config.yaml") == 130
    assert capsys.readouterr().err == "interrupted; what was complete is kept, and the same command begins again\n"
    monkeypatch.undo()
    monkeypatch.chdir(work)
    assert command("train", "config.yaml") == 0


@pytest.fixture
def interrupted(monkeypatch):
    """Has SIGINT come so many times while the batch of a training's third step is placed."""

    def interrupt(times):
        place, calls = loop.Experiment.place, itertools.count()

        def placed(self, batch):
            if next(calls) == 2:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            return place(self, batch)

        monkeypatch.setattr(loop.Experiment, "place", placed)

    return interrupt


def test_an_interrupt_saves_and_says_the_command_that_goes_on(work, command, capsys, interrupted):
    interrupted(1)
    assert command("train", "config.yaml", "training.epochs=3", "--run-dir", "runs/my run") == 0
    output = capsys.readouterr()
    assert output.err == ""
    said, _, typed = output.out.splitlines()[-1].partition(" To go on: ")
    assert (said, typed) == ("stopped; a checkpoint is saved.", "python train config.yaml training.epochs=3 --run-dir 'runs/my run'")
    assert (work / "runs" / "my run" / "checkpoints" / "2").exists()
    assert not (work / "runs" / "my run" / "summary.json").exists()
    assert command(*shlex.split(typed)[1:], "--resume", "require") == 0
    assert "resuming at step 2 of 3" in capsys.readouterr().out


def test_a_second_interrupt_ends_at_once(command, capsys, interrupted, work):
    interrupted(2)
    assert command("train", "config.yaml", "training.epochs=3") == 130
    assert capsys.readouterr().err == "interrupted; what was complete is kept, and the same command begins again\n"
    assert not (work / "runs" / "tiny" / "checkpoints" / "2").exists()
    assert command("train", "config.yaml", "training.epochs=3") == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_failure(work, unbuffered):
    """The config is printed into a pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [sys.executable, ROOT / "train.py", "config.yaml", "--print-config"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    ended = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_connection_that_breaks_is_a_failure(capsys):
    """A broken pipe that is not standard output's is not taken for a reader that left."""

    def send():
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    with pytest.raises(BrokenPipeError):
        run_command(send)


def test_a_file_that_belongs_to_somebody_else(capsys):
    """Raised here and not by a file: to root, which may run the tests, nothing is forbidden."""

    def look():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/home/other/run/config.yaml")

    with pytest.raises(SystemExit) as leaving:
        run_command(look)
    assert leaving.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: /home/other/run/config.yaml may not be read or written: Permission denied; ")


def test_a_refusal_that_is_of_no_file_is_a_failure():
    def connect():
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with pytest.raises(PermissionError):
        run_command(connect)


@pytest.mark.parametrize(
    ("script", "stream", "word"),
    [
        ("predict", "stdin", "standard input is closed"),
        ("predict", "stdout", "standard output is closed"),
        ("retrieve", "stdin", "standard input is closed"),
        ("retrieve", "stdout", "standard output is closed"),
        ("attention_map", "stdout", "standard output is closed"),
    ],
)
def test_a_standard_stream_that_is_closed(work, refuse, monkeypatch, script, stream, word):
    """As after `<&-` and `>&-` in a shell, where Python has None for it."""
    monkeypatch.setattr(sys, "stdout", None if stream == "stdout" else sys.stdout)
    options = {
        "predict": ["runs/tiny"],
        "retrieve": ["runs/tiny", "--documents", "train.csv"],
        "attention_map": ["runs/tiny", "a cat", "--output", "map.html"],
    }[script]
    refuse([word], script, *options, stdin=None if stream == "stdin" else b"")
