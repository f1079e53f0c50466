"""The run directory while a run is trained: what is written before training, and who may write."""

import contextlib
import importlib.metadata
import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.config.load import differing_keys, dump_config, load_config
from transformer.data.dataset import Dataset
from transformer.files import PARTIAL, locked, write_whole
from transformer.host import commit, usable_cores

T = TypeVar("T")

Resume = Literal["auto", "require", "never"]

HARMLESS_KEYS = frozenset({"name", "training.log_every", "training.keep_latest", "training.checkpoint_every", "training.wandb_project"})
"""Settings that may differ when a run is resumed, because no parameter and no figure depends on them."""


def check_directory(directory: Path, config: schema.Config, resume: Resume) -> None:
    """Refuse a directory that this run must not write to; writes nothing.

    Raises:
        UsageError: the directory belongs to another config, is no run directory, or does not fit `resume`; or its path is one in which
          checkpoints could not be found again.
    """
    if set("[*?") & set(path := str(directory.absolute())):
        # Orbax looks for a checkpoint's parts with the whole path as a pattern.
        raise UsageError(f"{path} holds one of [ * ?, with which no checkpoint could be found again; name another with --run-dir")
    stored = directory / "config.yaml"
    if not stored.exists():
        # A kill while the first file was written leaves its beginning: a run that has not begun.
        if directory.exists() and (not directory.is_dir() or {path.name for path in directory.iterdir()} - {stored.name + PARTIAL}):
            raise UsageError(f"{directory} exists and is not a run directory; name another with --run-dir")
        if resume == "require":
            raise UsageError(f"{directory} holds no run to resume; leave --resume out to start one")
        return
    if resume == "never":
        raise UsageError(f"{directory} already holds a run; remove it or name another directory with --run-dir")
    if changed := [key for key in differing_keys(load_config(stored), config) if key not in HARMLESS_KEYS]:
        raise UsageError(
            f"{directory} belongs to a run with another config; these keys differ: {', '.join(changed)}\n"
            "Name another directory with --run-dir, or change them back to resume."
        )


def has_begun(directory: Path) -> bool:
    """Whether a training can go on from what lies in its run directory, without the weights that it started from."""
    stored = all((directory / name).exists() for name in ("config.yaml", "tokenizer.json"))
    return stored and any(path.name.isdecimal() for path in (directory / "checkpoints").glob("*"))


@contextlib.contextmanager
def run_directory(directory: Path, config: schema.Config, dataset: Dataset) -> Iterator[list[str]]:
    """Write what is known before training into a directory that no other process trains in until this context is left.

    Yields:
        What is not as it was when a process trained here last, and can change the last bits of results: "jax 0.10.2 -> 0.12.0".

    Raises:
        UsageError: another process trains there, the run began with other data, or the directory could not be written; then directories
          made for it are removed.
    """
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    with contextlib.ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(directory))
            fingerprint = dataset.fingerprint
            check_data(directory, fingerprint, "name another directory with --run-dir")
            # First, since its presence says that this is a run directory: killed from here on, the same command goes on.
            write_whole(directory / "config.yaml", dump_config(config))
            write_whole(directory / "tokenizer.json", dataset.tokenizer.to_str(pretty=True))
            write_whole(directory / "labels.json", json.dumps(dataset.labels, ensure_ascii=False, indent=1))
            environment, stored = _environment(), directory / "environment.json"
            changes = _changes(read_stored(stored), environment) if stored.exists() else []
            write_whole(stored, json.dumps(environment | {"data": fingerprint}, indent=1))
        except BlockingIOError as error:
            raise UsageError(
                f"another process trains in {directory}; wait for it or stop it, or name another directory with --run-dir"
            ) from error
        except OSError as error:
            if directory in made:
                shutil.rmtree(directory, ignore_errors=True)
            for path in made[1:]:  # unless another run lies there by now
                with contextlib.suppress(OSError):
                    path.rmdir()
            raise UsageError(
                f"{directory} could not be written: {error.strerror}; make room or name another directory with --run-dir"
            ) from error
        yield changes


def with_own_tokenizer(directory: Path, config: schema.Config) -> schema.Config:
    """The config with the copy of the tokenizer in its run directory, where there is one and it could not be made anew.

    What it was copied from may be gone, and unigram tokenizers do not come out the same each time; the other trained ones do.
    """
    own = directory / "tokenizer.json"
    made_anew = isinstance(config.tokenizer, schema.TrainedTokenizer) and config.tokenizer.kind != "unigram"
    if made_anew or not own.exists():
        return config
    return config.model_copy(update={"tokenizer": schema.TokenizerFile(path=str(own))})


def check_data(directory: Path, fingerprint: str, otherwise: str) -> None:
    """Refuse to go on with a run on other data than it began with.

    Args:
        fingerprint: of the data as they are now.
        otherwise: what to type if the old data cannot be put back.

    Raises UsageError where they differ.
    """
    stored = directory / "environment.json"
    if stored.exists() and read_stored(stored)["data"] != fingerprint:
        raise UsageError(
            f"the data that {directory / 'config.yaml'} names are not those that its run began with: other rows, other labels, or another "
            f"tokenizer comes of them; put the old data back, or {otherwise}"
        )


def read_stored(path: Path, read: Callable[[str], T] = json.loads) -> T:
    """What `read` makes of a file of a run directory.

    Raises:
        UsageError: the file is missing or damaged.
    """
    try:
        return read(path.read_text(encoding="utf-8"))
    except Exception as error:  # the tokenizers library has no narrower one
        raise UsageError(f"{path} cannot be read: {error}; put a whole copy back, or train again with another --run-dir") from error


def _environment() -> dict[str, Any]:
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tokenizers", "datasets", "numpy")
    return {
        "command": sys.argv,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": usable_cores(),
        "devices": [device.device_kind for device in jax.devices()],
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    def flat(environment: dict[str, Any]) -> dict[str, Any]:
        return {key: environment[key] for key in ("commit", "cores", "devices")} | environment["packages"]

    before, now = flat(before), flat(now)
    return [f"{key} {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]]
