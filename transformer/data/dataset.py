"""From a config to tokenized splits: the whole way once, and after that out of the cache."""

import hashlib
import importlib.metadata
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from transformer.config.errors import UsageError
from transformer.config.schema import Config, PretrainedTokenizer, TokenizerFile, TrainedTokenizer
from transformer.data.cache import cached, content_key
from transformer.data.pretrained import locate_weights
from transformer.data.sources import SPLITS, Rows, read_source, source_identity
from transformer.data.splits import complete_splits, label_order
from transformer.data.tokenization import SpecialTokens, Split, encode_pieces, encode_texts, number_texts, read_tokenizer, special_tokens
from transformer.data.tokenizer_training import train_tokenizer

LAYOUT = 4
"""Raised by one whenever this package makes other arrays of the same input, so that old cache entries are not read."""


@dataclass(frozen=True)
class Dataset:
    """Tokenized splits, with what is needed to read them. The arrays are memory-mapped."""

    train: Split
    validation: Split | None
    test: Split | None
    tokenizer: Tokenizer
    special: SpecialTokens
    labels: list[str]
    """Label names in index order; none where labels are not read."""
    test_rows_in_train: int
    """How many test rows have a text that also stands in train."""
    notes: list[str]
    """What a person should know about the rows, such as blank ones left out."""

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name."""
        return {name: split for name in SPLITS if (split := getattr(self, name)) is not None}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that is trained and tested on: every split's arrays, the tokenizer and the label names."""
        digest = hashlib.sha256(json.dumps([self.tokenizer.to_str(), self.labels]).encode())
        for split in self.splits.values():
            for array in (split.tokens, split.offsets, split.labels, split.pair_starts):
                digest.update(b"-" if array is None else np.ascontiguousarray(array).data)
            if split.pair_texts is not None:  # without a mark where there are none: runs of before there were any go on
                digest.update(np.ascontiguousarray(split.pair_texts).data)
        return digest.hexdigest()


def load_dataset(config: Config, tell: Callable[[str], None]) -> Dataset:
    """The dataset of a config, read from the cache or made and cached; `tell` is given a line about each long step.

    Whether labels are read, and whether long texts are cut or split, is up to the objective: `config.reads_labels`,
    `config.splits_long_texts`.

    Raises UsageError for every fault of the source, its rows, or the tokenizer's file.
    """
    data, labelled, pieces = config.data, config.reads_labels, config.splits_long_texts
    # The key need not hold `pieces`: of what is not labelled, single texts are split and pairs are not, and the columns are in `data`.
    rows_key = [LAYOUT, labelled, data.model_dump(mode="json", exclude={"maximum_length"}), source_identity(data)]
    existing = _existing_tokenizer(config, tell)
    if existing is not None:
        tokenizer_key = content_key(existing.to_str())
    else:
        tokenizer_key = content_key([rows_key, config.tokenizer.model_dump(mode="json"), importlib.metadata.version("tokenizers")])
    dataset_key = content_key([rows_key, tokenizer_key, importlib.metadata.version("tokenizers"), data.maximum_length])

    def write(directory: Path) -> None:
        tell("reading the texts")
        source = read_source(data, tell, labelled=labelled)
        splits, overlap, notes = complete_splits(source, data, labelled=labelled)
        labels = label_order(splits, source.label_names) if labelled else []
        if isinstance(config.tokenizer, TrainedTokenizer):
            tokenizer = _trained_tokenizer(config.tokenizer, tokenizer_key, splits["train"], tell)
        else:
            assert existing is not None
            tokenizer = existing
        tell("tokenizing the texts")
        for name, rows in splits.items():
            split = (encode_pieces if pieces else encode_texts)(tokenizer, rows.texts, data.maximum_length)
            if split.pair_starts is not None and not labelled:  # then the texts tell what belongs together
                split = replace(split, pair_texts=number_texts(tokenizer, rows.texts, data.maximum_length))
            _save(directory, name, _with_labels(split, rows, labels) if labelled else split, tokenizer)
        (directory / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        facts = {"splits": list(splits), "labels": labels, "test_rows_in_train": overlap, "notes": notes}
        (directory / "dataset.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")

    return _open(cached("datasets", dataset_key, write))


def _existing_tokenizer(config: Config, tell: Callable[[str], None]) -> Tokenizer | None:
    match config.tokenizer:
        case TrainedTokenizer():
            return None
        case TokenizerFile(path=path):
            file = Path(path)
        case PretrainedTokenizer():
            if config.model.start_weights is None:
                raise UsageError(
                    "tokenizer.kind=pretrained is the tokenizer of trained weights, and model.initialize_from names none; name some, or "
                    "train a tokenizer: tokenizer.kind=wordpiece"
                )
            file = locate_weights(config.model.start_weights, tell) / "tokenizer.json"
    tokenizer = read_tokenizer(file)
    special_tokens(tokenizer, str(file))
    return tokenizer


def _trained_tokenizer(settings: TrainedTokenizer, key: str, train: Rows, tell: Callable[[str], None]) -> Tokenizer:
    def write(directory: Path) -> None:
        tell(f"training a {settings.kind} tokenizer on {len(train)} texts")
        (directory / "tokenizer.json").write_text(train_tokenizer(settings, train.texts).to_str(), encoding="utf-8")

    return Tokenizer.from_file(str(cached("tokenizers", key, write) / "tokenizer.json"))


def _with_labels(split: Split, rows: Rows, labels: list[str]) -> Split:
    index = {label: number for number, label in enumerate(labels)}
    return replace(split, labels=np.array([index[label] for label in rows.labels], np.int32))


def _save(directory: Path, name: str, split: Split, tokenizer: Tokenizer) -> None:
    if tokenizer.get_vocab_size() <= np.iinfo(np.uint16).max:
        split = replace(split, tokens=split.tokens.astype(np.uint16))
    for array in ("tokens", "offsets", "labels", "pair_starts", "pair_texts"):
        if (values := getattr(split, array)) is not None:
            # Not straight into the file: NumPy then hides that a disk is full behind an error without number.
            content = io.BytesIO()
            np.save(content, values)
            (directory / f"{name}-{array}.npy").write_bytes(content.getbuffer())


def _open(directory: Path) -> Dataset:
    facts: dict[str, Any] = json.loads((directory / "dataset.json").read_text(encoding="utf-8"))
    splits = {name: _open_split(directory, name) for name in facts["splits"]}
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        tokenizer=tokenizer,
        special=special_tokens(tokenizer),
        labels=facts["labels"],
        test_rows_in_train=facts["test_rows_in_train"],
        notes=facts["notes"],
    )


def _open_split(directory: Path, name: str) -> Split:
    return Split(**{path.stem.removeprefix(f"{name}-"): np.load(path, mmap_mode="r") for path in directory.glob(f"{name}-*.npy")})
