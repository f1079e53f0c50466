"""Weights from every kind of place become one directory; what is missing there is named, and pickles are never read."""

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import ml_dtypes
import numpy as np
import pytest
from huggingface_hub import errors
from huggingface_hub.utils import filter_repo_objects
from safetensors.numpy import save_file

from transformer.config.errors import UsageError
from transformer.config.schema import Config, DirectoryWeights, HubWeights, PackageWeights, RunWeights, TrainedTokenizer
from transformer.data import packages
from transformer.data.cache import cache_directory
from transformer.data.dataset import load_dataset
from transformer.data.pretrained import locate_weights, read_config, read_safetensors
from transformer.data.tokenization import encode_texts
from transformer.data.tokenizer_training import train_tokenizer

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.float16), "c": np.full(2, 1.5, ml_dtypes.bfloat16)}
TEXTS = [f"text of number {number} and so on" for number in range(40)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "bert"}')
    tokenizer = train_tokenizer(TrainedTokenizer(vocabulary_size=60), TEXTS)
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(5)
    tokenizer.save(str(path / "tokenizer.json"))
    save_file(TENSORS, path / "model.safetensors")
    return path


def shard(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    names = {name: f"model-{number}-of-3.safetensors" for number, name in enumerate(TENSORS, start=1)}
    for name, file in names.items():
        save_file({name: TENSORS[name]}, directory / file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def package(directory: Path, folder: str = "inside/model") -> tuple[PackageWeights, bytes]:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in directory.iterdir():
            archive.write(path, f"{folder}/{path.name}")
        archive.writestr(f"{folder}/pytorch_model.bin", b"a pickle")
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    return PackageWeights(package="some-model", version="1.0", file="some_model.whl", sha256=digest, folder=folder), content.getvalue()


def locate(directory: Path) -> Path:
    return locate_weights(DirectoryWeights(path=str(directory)), print)


def check(directory: Path) -> None:
    tensors = read_safetensors(directory)
    assert sorted(tensors) == sorted(TENSORS)
    assert len(tensors) == 3
    assert "d" not in tensors
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(tensors[name], tensor)


@pytest.mark.parametrize("sharded", [False, True])
def test_every_tensor_of_a_directory_is_read(directory: Path, sharded: bool) -> None:
    if sharded:
        shard(directory)
    assert locate(directory) == directory
    check(directory)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_package_is_unpacked_once_and_its_pickle_never(directory: Path, sharded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if sharded:
        shard(directory)
    source, content = package(directory)
    monkeypatch.setattr(packages, "download", lambda _, path: path.write_bytes(content))
    found = locate_weights(source, print)
    check(found)
    assert {path.name for path in found.iterdir()} == {path.name for path in directory.iterdir()}
    shutil.rmtree(cache_directory() / "packages")
    monkeypatch.setattr(packages, "download", lambda *_: pytest.fail("fetched again"))
    assert locate_weights(source, print) == found


def test_faults_of_a_package_name_the_configs_keys(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, content = package(directory)
    monkeypatch.setattr(packages, "download", lambda _, path: path.write_bytes(content + b"changed"))
    with pytest.raises(UsageError, match=r"model\.initialize_from\.sha256"):
        locate_weights(source, print)
    monkeypatch.setattr(packages, "download", lambda _, path: path.write_bytes(content))
    with pytest.raises(UsageError, match=r"no member elsewhere/config\.json; the nearest are inside/model/config\.json"):
        locate_weights(source.model_copy(update={"folder": "elsewhere"}), print)


def test_what_a_directory_lacks_is_named_with_a_remedy(directory: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no directory .*nowhere; correct model\.initialize_from\.path"):
        locate(directory / "nowhere")
    (directory / "config.json").unlink()
    with pytest.raises(UsageError, match=r"no config\.json"):
        locate(directory)


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("model.safetensors", r"no model\.safetensors, and a pytorch_model\.bin is never read.* pickle"),
        ("tokenizer.json", "no tokenizer.json"),
    ],
)
def test_one_command_converts_weights_and_tokenizer_from_where_both_are(directory: Path, lacking: str, words: str) -> None:
    """Of what was converted alone, the other half could not be made any more."""
    (directory / lacking).unlink()
    each = rf"\.from_pretrained\('{directory}'\)\.save_pretrained\('converted'\)"
    remedy = rf"AutoModel{each}; AutoTokenizer{each}.*path=converted.*masked_language_model with AutoModelForMaskedLM"
    with pytest.raises(UsageError, match=f"{words}.*{remedy}"):
        locate(directory)


def test_a_command_that_converts_takes_the_revision_that_the_config_names(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "tokenizer.json").unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(directory))
    with pytest.raises(UsageError, match=r"AutoTokenizer\.from_pretrained\('some/model', revision='v1'\)"):
        locate_weights(HubWeights(name="some/model", revision="v1"), print)


def test_of_a_hub_model_only_plain_files_at_the_pinned_revision_are_fetched(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pickles nor code, and every file of weights that are in several."""
    asked: list[dict[str, Any]] = []

    def download(name: str, **settings: Any) -> str:
        asked.append({"name": name, **settings})
        return str(directory)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert locate_weights(HubWeights(name="some/model", revision="v1"), print) == directory
    assert [(one["name"], one["revision"]) for one in asked] == [("some/model", "v1")]
    wanted = ["config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json", "model-00002-of-00010.safetensors"]
    others = [
        "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin",
        "training_args.bin",
        "modeling_own.py",
        "tf_model.h5",
        "onnx/model.onnx",
    ]
    patterns = {name: asked[0].get(name) for name in ("allow_patterns", "ignore_patterns")}
    assert list(filter_repo_objects([*wanted, *others], **patterns)) == wanted


@pytest.mark.parametrize(("entries", "accepted"), [(120, True), (121, False), ("many", True)])
def test_a_tokenizer_that_knows_less_than_half_of_the_weights_tokens_is_refused(directory: Path, entries: object, accepted: bool) -> None:
    """As one of special tokens alone, which is written where no vocabulary was found."""
    (directory / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": entries}))
    if accepted:
        assert locate(directory) == directory
        return
    with pytest.raises(UsageError, match=r"tokenizer\.json of 60 tokens.* 121 by the vocab_size.*put the tokenizer\.json there"):
        locate(directory)


def test_a_shard_that_is_missing_or_elsewhere_and_a_broken_file_are_errors(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UsageError, match=r"model\.safetensors is not a safetensors file"):
        read_safetensors(directory)
    shard(directory)
    (directory / "model-2-of-3.safetensors").unlink()
    with pytest.raises(UsageError, match=r"no model-2-of-3\.safetensors"):
        locate(directory)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../a.safetensors"}}))
    with pytest.raises(UsageError, match="outside its directory"):
        locate(directory)
    (directory / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UsageError, match="weight_map"):
        locate(directory)


def test_a_run_is_told_from_a_model(directory: Path) -> None:
    with pytest.raises(UsageError, match=r"not a run directory.*kind: directory"):
        locate_weights(RunWeights(path=str(directory)), print)
    (directory / "config.yaml").write_text("name: run")
    assert locate_weights(RunWeights(path=str(directory)), print) == directory
    (directory / "config.json").unlink()
    with pytest.raises(UsageError, match=r"is a run directory .*; say model\.initialize_from\.kind=run"):
        locate(directory)


def test_a_type_that_is_not_read_is_named(directory: Path) -> None:
    save_file({"a": np.ones(4, np.float32), "b": np.ones(4, ml_dtypes.float8_e4m3fn)}, directory / "model.safetensors")
    with pytest.raises(UsageError, match=r"have b as F8_E4M3: they are quantized; take those in float32"):
        read_safetensors(directory)["b"]


@pytest.mark.parametrize("kind", ["F4", "F6_E2M3", "F6_E3M2", "F8_E8M0"])
def test_a_type_that_numpy_does_not_have_is_named(directory: Path, kind: str) -> None:
    size = int(kind[1])  # of eight numbers, in bytes
    tensors = {
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": kind, "shape": [8], "data_offsets": [4, 4 + size]},
    }
    header = json.dumps(tensors).encode()
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 + size))
    with pytest.raises(UsageError, match=rf"have b as {kind}: they are quantized; take those in float32"):
        read_safetensors(directory)["b"]


def test_a_tokenizer_with_gaps_beside_published_weights_is_not_to_be_renumbered(directory: Path) -> None:
    """The rows of the weights' embedding go by its numbers."""
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    last = max(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    tokenizer["model"]["vocab"][last] = 99
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UsageError, match=r"has gaps in its vocabulary: 60 entries, but indices up to 99; .*take other weights") as refused:
        locate(directory)
    assert "renumber" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '"bert"'])
def test_a_config_that_is_no_object_is_named(directory: Path, text: str) -> None:
    (directory / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json .*; fetch it again"):
        read_config(directory)


def test_without_network_the_hub_is_told_from_a_wrong_name() -> None:
    with pytest.raises(UsageError, match=r"cannot reach the hub for google-bert/none.*HF_HUB_OFFLINE.*kind=directory"):
        locate_weights(HubWeights(name="google-bert/none"), print)
    with pytest.raises(UsageError, match=r"no public model not a name.*initialize_from\.name"):
        locate_weights(HubWeights(name="not a name"), print)


def hub_error(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    return kind(f"{status} of the hub\nmore", response=httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co")))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx2.ReadTimeout("timed out"), r"download of some/model broke off \(timed out\); the same command goes on with it"),
        (httpx2.RemoteProtocolError(""), r"download of some/model broke off \(RemoteProtocolError\); the same command goes on with it"),
        (TimeoutError("of Xet"), r"download of some/model broke off \(of Xet\)"),
        (RuntimeError("of Xet"), r"download of some/model broke off \(of Xet\)"),
        (hub_error(errors.HfHubHTTPError, 503), r"download of some/model broke off \(503 of the hub\)"),
        (hub_error(errors.HfHubHTTPError, 401), r"no public model some/model; check .*`hf auth login`"),
        (hub_error(errors.RepositoryNotFoundError, 404), r"no public model some/model; check .*`hf auth login`"),
        (hub_error(errors.GatedRepoError, 403), "no public model some/model"),
        (hub_error(errors.RevisionNotFoundError, 404), "no public model some/model"),
        (hub_error(errors.RemoteEntryNotFoundError, 404), "no public model some/model"),
        (errors.LocalEntryNotFoundError("not cached"), "cannot reach the hub for some/model"),
    ],
)
def test_a_download_that_breaks_off_is_told_from_a_wrong_name(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UsageError, match=words):
        locate_weights(HubWeights(name="some/model"), print)


def test_the_tokenizer_of_the_weights_is_used_without_its_padding(directory: Path, tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / f"{label}.txt").write_text("\n".join(f"{text} {label}" for text in TEXTS))
    files = [{"path": str(tmp_path / f"{label}.txt"), "label": label} for label in ("a", "b")]
    values = {
        "name": "test",
        "data": {
            "source": {"kind": "files", "train": files},
            "label": None,
            "maximum_length": 16,
        },
        "tokenizer": {"kind": "pretrained"},
        "model": {"initialize_from": {"kind": "directory", "path": str(directory)}},
    }
    dataset = load_dataset(Config.model_validate(values), print)
    assert dataset.tokenizer.padding is None
    assert dataset.tokenizer.truncation is None
    trained = train_tokenizer(TrainedTokenizer(vocabulary_size=60), TEXTS)
    lengths = encode_texts(trained, [f"{text} {label}" for text in TEXTS for label in ("a", "b")], 16).lengths
    assert dataset.train.lengths.max() == lengths.max() > 5
    assert set(dataset.train.lengths) <= set(lengths)
    with pytest.raises(UsageError, match=r"tokenizer\.kind=pretrained.*model\.initialize_from names none"):
        load_dataset(Config.model_validate(values | {"model": {}}), print)
