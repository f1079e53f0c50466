"""Rows of a data file: csv, tsv, JSON lines, parquet, text, and whole documents.

A csv file is read as RFC 4180 has it, with quoted fields. In a tsv file a quotation mark is a character like any other, as in the
registration of text/tab-separated-values: a text that opens with one would otherwise swallow the rows after it.
"""

import codecs
import csv
import io
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from transformer.config.errors import UsageError
from transformer.config.schema import Files

FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".txt": "text"}
COMPRESSIONS = {".gz", ".bz2", ".xz", ".zst"}

Values = tuple[Any, ...]

_REMEDIES = {
    "\t": "set data.source.format=tsv",
    ",": "set data.source.format=csv",
    ";": "save it with commas, or with tabs as tsv",
}
"""What to do where a file has another separator than its format."""


def read_rows(content: bytes, name: str, columns: Sequence[str], files: Files) -> Iterator[tuple[int, Values]]:
    """The data rows of a file: each row's number, counted from 1 without header and skipped rows, and its values in the given columns.

    `name` is the file's, for the format and for messages. Raises UsageError, with the row's number, for a row that cannot be read, and
    with the columns that there are for a column that is not there.
    """
    kind = files.format or _format(name)
    if kind == "parquet":
        return _parquet(content, name, columns)
    try:
        # Bytes that cannot be decoded become surrogates here, so that `checked_text` finds them where the row's number is known.
        utf8 = codecs.lookup(files.encoding).name == "utf-8"
        if utf8 and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UsageError(f"{name} is not UTF-8, but begins as UTF-16 does; set data.source.encoding=utf-16")
        text = content.decode("utf-8-sig" if utf8 else files.encoding, errors="surrogateescape")
    except (LookupError, ValueError) as error:
        raise UsageError(f"cannot decode {name} with data.source.encoding={files.encoding}: {error}") from error
    match kind:
        case "jsonl":
            return _json_lines(text, name, columns)
        case "text":
            return _lines(text, name, columns)
        case "document":
            return _document(text, name, columns)
        case _:
            return _delimited(text, name, columns, files, tabs=kind == "tsv")


def checked_text(value: Any, where: str) -> str:
    """A text, or a null as the empty text. Raises UsageError for anything else, and for what has no UTF-8 form (undecodable bytes)."""
    if value is None:
        return ""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{where} is not valid text in this encoding; set data.source.encoding or correct the row") from error
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"{where} holds {type(value).__name__} where text belongs")


def checked_label(value: Any, threshold: float | None, where: str) -> str:
    """A label's name, the empty string where there is none. Raises UsageError for what is no label, or no number under a threshold."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    if threshold is not None:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isnan(number):
            raise UsageError(f"{where} has the label {value!r}, which is no number, but data.label_threshold is set")
        return "positive" if number > threshold else "negative"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, float | bytes | list | dict):
        raise UsageError(f"{where} has the label {value!r}; a label is a string or an integer: set data.label_threshold for numbers")
    return checked_text(str(value), where)


def _format(name: str) -> str:
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    while suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in FORMATS:
        raise UsageError(
            f"cannot tell the format of {name} from its ending; set data.source.format to csv, tsv, jsonl, parquet, text or document"
        )
    return FORMATS[suffixes[-1]]


class NoSuchColumnError(UsageError):
    """A column is not there; tells those that are."""

    def __init__(self, column: str, name: str, columns: Sequence[str]) -> None:
        self.column, self.found = column, f"{name} has no column {column!r}; its columns are {listed(columns)}"
        super().__init__(f"{self.found}; set data.text and data.label")


def listed(names: Sequence[str], most: int = 20) -> str:
    """The names, each short and on one line, of which there may be as many as rows where the wrong column is the label."""
    shown = [repr(name if len(name) <= 40 else f"{name[:40]}...") for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _places(columns: Sequence[str], names: Sequence[str], name: str) -> list[int]:
    for column in columns:
        if column not in names:
            raise NoSuchColumnError(column, name, names)
        if (count := names.count(column)) > 1:
            raise UsageError(f"{name} has {count} columns {column!r}; rename all but one, or set data.text and data.label to others")
    return [names.index(column) for column in columns]


def _header(names: list[str], text: str, name: str, columns: Sequence[str], *, tabs: bool) -> list[str]:
    """The names in a file's first row. Raises UsageError where there are none, or where another separator stands between them."""
    if not names:
        empty = f"the first line of {name}" if text.strip() else name
        raise UsageError(f"{empty} is empty; the first line should name the columns, among them {listed(columns)}")
    if len(names) == 1 and names[0] not in columns:
        for separator, remedy in _REMEDIES.items():
            if separator in names[0]:
                expected = "tabs" if tabs else "commas"
                raise UsageError(f"{name} is not separated by {expected}: its first line is {listed(names)}; {remedy}")
    return names


def _delimited(text: str, name: str, columns: Sequence[str], files: Files, *, tabs: bool) -> Iterator[tuple[int, Values]]:
    csv.field_size_limit(sys.maxsize)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True) if tabs else csv.reader(lines, strict=True)
    number = 0
    try:
        names = files.columns or _header(next(reader, []), text, name, columns, tabs=tabs)
        places = _places(columns, names, name)
        for _ in range(files.skip_rows):
            next(reader, None)
        for fields in reader:
            if not fields:  # an empty line
                continue
            number += 1
            if len(fields) != len(names):
                raise UsageError(
                    f"row {number} (line {reader.line_num}) of {name} has {len(fields)} fields, but there are {len(names)} columns: "
                    f"{', '.join(names)}; correct the row, or set data.source.format"
                )
            yield number, tuple(fields[place] for place in places)
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise UsageError(
                f"row {number + 1} of {name} opens a quotation mark that nothing closes; close it, write it twice where it belongs to the "
                "text, or set data.source.format=tsv for a file with tabs"
            ) from error
        raise UsageError(f"row {number + 1} (line {reader.line_num}) of {name} cannot be read: {error}") from error


def _json_lines(text: str, name: str, columns: Sequence[str]) -> Iterator[tuple[int, Values]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"row {number} of {name} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UsageError(f'row {number} of {name} is not a JSON object such as {{"text": "...", "label": "..."}}')
        for column in columns:
            if column not in row:
                raise NoSuchColumnError(column, f"row {number} of {name}", list(row))
        yield number, tuple(row[column] for column in columns)


def _lines(text: str, name: str, columns: Sequence[str]) -> Iterator[tuple[int, Values]]:
    _places(columns, ["text"], name)
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        yield number, (line.removesuffix("\r"),) * len(columns)


def _document(text: str, name: str, columns: Sequence[str]) -> Iterator[tuple[int, Values]]:
    _places(columns, ["text"], name)
    yield 1, (text,) * len(columns)


def _parquet(content: bytes, name: str, columns: Sequence[str]) -> Iterator[tuple[int, Values]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        names = file.schema_arrow.names
        _places(columns, names, name)
        table = file.read(columns=list(columns))
        values = [_arrow_values(table[column]) for column in columns]
    except (pa.ArrowException, OSError) as error:  # Arrow's own error of a damaged page is an OSError
        raise UsageError(f"{name} cannot be read as parquet: {error}") from error
    class_names = _class_names(table.schema)
    for number, row in enumerate(zip(*values, strict=True), 1):
        yield number, tuple(named(value, class_names.get(column)) for column, value in zip(columns, row, strict=True))


def _arrow_values(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        # Parquet does not check that strings are UTF-8.
        return [None if value is None else value.decode(errors="surrogateescape") for value in column.cast(pa.large_binary()).to_pylist()]
    return column.to_pylist()


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Label names that the `datasets` library left in a parquet file, by column; none where they cannot be read."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"].items()
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):  # no JSON, or JSON of another structure
        return {}
    found = {column: feature.get("names") for column, feature in features if isinstance(feature, dict)}
    return {column: names for column, names in found.items() if isinstance(names, list) and all(isinstance(name, str) for name in names)}


def named(value: Any, names: list[str] | None) -> Any:
    """A class's name by its index, for columns whose classes have names; what is no index, such as a name, as it is."""
    if names is None:
        return value
    if isinstance(value, float) and value.is_integer():  # pandas makes floats of integers where one is missing
        value = int(value)
    if not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None  # -1 is what `datasets` gives a row without label
