"""The run directory: what a run leaves behind, and how a trained run is read back."""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Int, Key
from tokenizers import Tokenizer

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.config.load import differing_keys, dump_config, load_config
from transformer.data.batching import batch_shapes
from transformer.data.dataset import Dataset, SpecialTokens
from transformer.data.tokenization import special_tokens
from transformer.model.build import build_classifier, build_ensemble, build_masked_language_model, build_sentence_embedder
from transformer.training.checkpoints import load_parameters
from transformer.training.devices import data_mesh, replicate, with_divisible_rows
from transformer.training.objective import Parameters
from transformer.training.prediction import Predictor

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")

Resume = Literal["auto", "require", "never"]

HARMLESS_KEYS = frozenset({"name", "training.log_every", "training.keep_latest", "training.checkpoint_every", "training.wandb_project"})
"""Settings that may differ when a run is resumed, because no parameter and no figure depends on them."""

PARTIAL = ".partial"
"""Ending of a file's name while it is written."""


def check_directory(directory: Path, config: schema.Config, resume: Resume) -> None:
    """Refuse a directory that this run must not write to; writes nothing.

    Raises:
      UsageError: the directory belongs to another config, is no run directory, or does not fit `resume`.
    """
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


@contextlib.contextmanager
def run_directory(directory: Path, config: schema.Config, dataset: Dataset) -> Iterator[None]:
    """Write what is known before training into a directory that no other process trains in until this context is left.

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
            _check_data(directory, fingerprint)
            # First, since its presence says that this is a run directory: killed from here on, the same command goes on.
            write_whole(directory / "config.yaml", dump_config(config))
            write_whole(directory / "tokenizer.json", dataset.tokenizer.to_str(pretty=True))
            write_whole(directory / "labels.json", json.dumps(dataset.labels, ensure_ascii=False, indent=1))
            write_whole(directory / "environment.json", json.dumps(_environment() | {"data": fingerprint}, indent=1))
        except OSError as error:
            if made:
                shutil.rmtree(made[-1], ignore_errors=True)
            raise UsageError(
                f"{directory} could not be written: {error.strerror}; make room or name another directory with --run-dir"
            ) from error
        yield


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep the directory from whoever else locks it; the system ends the lock with the process, however that ends.

    Raises UsageError where another process has it. Where the file system has no locks, nobody is kept out.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another process trains in {directory}; wait for it or stop it, or name another directory with --run-dir"
            ) from error
        except OSError:  # as some network file systems do
            pass
        yield
    finally:
        os.close(descriptor)


def _check_data(directory: Path, fingerprint: str) -> None:
    stored = directory / "environment.json"
    if stored.exists() and read_stored(stored).get("data", fingerprint) != fingerprint:
        raise UsageError(
            f"the data that {directory / 'config.yaml'} names are not those that its run began with: other rows, other labels, or another "
            "tokenizer comes of them; put the old data back, or name another directory with --run-dir"
        )


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, so that a kill leaves the old one or the new one."""
    beside = path.with_name(path.name + PARTIAL)
    try:
        with beside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


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
    commit = None
    if shutil.which("git"):
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        ).stdout.strip()
    return {
        "command": sys.argv,
        "commit": commit or None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }


def abstract_model(config: schema.Config, tokenizer: Tokenizer, labels: list[str]) -> tuple[nnx.GraphDef[nnx.Module], Parameters]:
    """The model's structure and the shapes of its parameters, without any memory for them."""
    model: nnx.Module = nnx.eval_shape(lambda: _build(config, tokenizer, labels, jax.random.key(0)))
    graph, parameters = nnx.split(model)
    return graph, parameters


def initial_model(config: schema.Config, tokenizer: Tokenizer, labels: list[str]) -> tuple[nnx.GraphDef[nnx.Module], Parameters]:
    """The model's structure and its first parameters, a function of the config and its seed."""
    graph, _ = abstract_model(config, tokenizer, labels)
    # One compiled program, the same for every seed; drawn one by one, each parameter would be compiled by itself.
    return graph, jax.jit(lambda key: nnx.state(_build(config, tokenizer, labels, key)))(jax.random.key(config.seed))


def _build(config: schema.Config, tokenizer: Tokenizer, labels: list[str], key: Key[jax.Array, ""]) -> nnx.Module:
    sizes: dict[str, Any] = {
        "vocabulary_size": tokenizer.get_vocab_size(),
        "maximum_length": config.data.maximum_length,
        "pairs": len(config.data.text) == 2,
    }
    match config.objective:
        case schema.Classification(members=1):
            return build_classifier(config.model, classes=len(labels), key=key, **sizes)
        case schema.Classification(members=members):
            return build_ensemble(config.model, members=members, classes=len(labels), key=key, **sizes)
        case schema.MaskedLanguageModel():
            assert isinstance(config.model, schema.Transformer)
            return build_masked_language_model(config.model, key=key, **sizes)
        case schema.Contrastive():
            return build_sentence_embedder(config.model, key=key, **sizes)


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run, ready to use."""

    directory: Path
    config: schema.Config
    tokenizer: Tokenizer
    special: SpecialTokens
    labels: list[str]
    parameters: Parameters
    """Those of the best checkpoint."""
    graph: nnx.GraphDef[nnx.Module]
    mesh: Mesh

    def require_one_model(self, purpose: str) -> None:
        """Raise UsageError if the run trained an ensemble, whose members `purpose` cannot tell apart."""
        if isinstance(self.config.objective, schema.Classification) and self.config.objective.members > 1:
            raise UsageError(
                f"the run in {self.directory} trained {self.config.objective.members} models whose probabilities are averaged, and "
                f"{purpose} one; train it with objective.members=1"
            )

    def predictor(self, lengths: Int[np.ndarray, " examples"]) -> Predictor:
        """What predicts texts of such lengths in tokens, in few shapes; call it with `parameters` and a split.

        Raises:
          UsageError: the run has learned no labels.
        """
        if not isinstance(self.config.objective, schema.Classification):
            raise UsageError(
                f"the run in {self.directory} has learned no labels: its objective is {self.config.objective.kind}; train a classifier "
                "from it, with a CONFIG whose texts have labels: "
                f"python train.py CONFIG model.initialize_from.kind=run model.initialize_from.path={self.directory}"
            )
        shapes = batch_shapes(lengths, self.config.batching, self.config.data.maximum_length)
        return Predictor(self.graph, self.special, shapes, self.mesh, pairs=len(self.config.data.text) == 2)


def load_run(directory: Path | str) -> Run:
    """Read a finished run back, with the parameters of its best checkpoint.

    Raises:
      UsageError: the directory is no run, its training has not ended, or it is damaged.
    """
    directory = Path(directory)
    if not (directory / "config.yaml").exists():
        raise UsageError(f"{directory} is not a run directory: it has no config.yaml; runs lie in runs/NAME once train.py has made them")
    if not (directory / "summary.json").exists():
        raise UsageError(f"the run in {directory} has not ended: it has no summary.json; run its train.py command again to finish it")
    config = load_config(directory / "config.yaml")
    if isinstance(config.tokenizer, schema.PretrainedTokenizer):
        # The run has its own copy; the weights that it started from may be gone.
        config = config.model_copy(update={"tokenizer": schema.TokenizerFile(path=str(directory / "tokenizer.json"))})
    tokenizer = read_stored(directory / "tokenizer.json", Tokenizer.from_str)
    labels: list[str] = read_stored(directory / "labels.json")
    best_step = read_stored(directory / "summary.json", lambda text: json.loads(text)["best_step"])
    config = config.model_copy(update={"batching": with_divisible_rows(config.batching)})
    mesh = data_mesh(config.batching.row_multiple)
    graph, abstract = abstract_model(config, tokenizer, labels)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract)
    parameters = replicate(load_parameters(directory / "checkpoints", best_step, like), mesh)
    return Run(directory, config, tokenizer, special_tokens(tokenizer), labels, parameters, graph, mesh)
