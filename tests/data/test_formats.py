"""Rows of files, as they stand in them; a row that cannot be read is refused by its number."""

import io
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.config.errors import UsageError
from transformer.config.schema import File, Files
from transformer.data.formats import checked_label, checked_text, read_rows


def rows(content: bytes | str, name: str, wanted: list[str], **settings: object) -> list[tuple[object, ...]]:
    files = Files(train=[File(path=name)], **settings)  # type: ignore[arg-type]
    content = content.encode() if isinstance(content, str) else content
    return [row for _, row in read_rows(content, name, wanted, files)]


def test_csv_fields_may_be_quoted_hold_line_ends_and_follow_a_byte_order_mark() -> None:
    content = '\ufefftext,label\r\n"one, ""two""\r\nthree",a\r\n\r\nfour,b'
    assert rows(content, "x.csv", ["label", "text"]) == [("a", 'one, "two"\r\nthree'), ("b", "four")]


def test_a_quotation_mark_in_tsv_is_a_character() -> None:
    assert rows('text\tlabel\n"open\ta\nnext"\tb\n', "x.tsv", ["text", "label"]) == [('"open', "a"), ('next"', "b")]


def test_header_rows_that_are_no_data_are_skipped_and_names_may_be_given() -> None:
    assert rows("Text\tClass\nstring\td\n\tclass\none\ta\n", "x.tab", ["Text"], skip_rows=2) == [("one",)]
    assert rows("1\tone\r\n2\ttwo\r\n", "x.tsv", ["text"], columns=["number", "text"]) == [("one",), ("two",)]


def test_a_text_file_has_a_row_a_line() -> None:
    # Other characters at which Python would split lines are characters.
    assert rows("one\r\n\ntwo\x0b\x85\u2028three\n", "x.txt", ["text"]) == [("one",), ("",), ("two\x0b\x85\u2028three",)]


def test_a_document_is_one_row() -> None:
    assert rows("\ufeffone\r\n\ntwo\n", "x.txt", ["text"], format="document") == [("one\r\n\ntwo\n",)]
    with pytest.raises(UsageError, match="no column 'body'; its columns are 'text'"):
        rows("one", "x.txt", ["body"], format="document")


def test_json_lines_keep_types() -> None:
    content = '{"text": "one", "label": 3}\n\n{"label": null, "text": null, "more": 1}\n'
    assert rows(content, "x.jsonl", ["text", "label"]) == [("one", 3), (None, None)]


def test_parquet_keeps_types_and_class_names() -> None:
    assert labels_in_parquet([1, 0, -1], CLASSES) == ["good", "bad", None]


CLASSES = json.dumps({"info": {"features": {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}, "text": {"_type": "Value"}}}})


def labels_in_parquet(labels: list[object], metadata: str | bytes) -> list[object]:
    content = io.BytesIO()
    table = pa.table({"text": [1.0] * len(labels), "label": labels})
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), content)
    texts, named = zip(*rows(content.getvalue(), "x.parquet", ["text", "label"]), strict=True)
    assert list(map(str, texts)) == ["1.0"] * len(labels)  # of other columns nothing changes
    return list(named)


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (["good", "bad", None], ["good", "bad", None]),
        ([1.0, 0.0, -1.0, None], ["good", "bad", None, None]),
        ([1.5, math.inf], [1.5, math.inf]),
        ([[1], [0]], [[1], [0]]),
    ],
)
def test_what_is_no_index_of_a_class_stays_as_it_is(labels: list[object], named: list[object]) -> None:
    assert labels_in_parquet(labels, CLASSES) == named


@pytest.mark.parametrize(
    "metadata",
    [
        "{",
        b"\xff",
        "[" * 100_000,
        "null",
        "[]",
        '{"info": null}',
        '{"info": {"features": null}}',
        '{"info": {"features": ["label"]}}',
        '{"info": {"features": {"label": null}}}',
        '{"info": {"features": {"label": {"names": null}}}}',
        '{"info": {"features": {"label": {"names": {"0": "bad", "1": "good"}}}}}',
        '{"info": {"features": {"label": {"names": [0, 1]}}}}',
    ],
)
def test_damaged_class_names_in_parquet_are_no_names(metadata: str | bytes) -> None:
    assert labels_in_parquet([1, 0], metadata) == [1, 0]


def test_a_name_that_two_columns_of_parquet_share_is_refused_where_it_is_read() -> None:
    content = io.BytesIO()
    pq.write_table(pa.table([pa.array(["one"]), pa.array(["two"]), pa.array([1])], names=["text", "text", "label"]), content)
    with pytest.raises(UsageError, match=r"x\.parquet has 2 columns 'text'; .*rename all but one.*data\.text and data\.label"):
        rows(content.getvalue(), "x.parquet", ["text", "label"])
    assert rows(content.getvalue(), "x.parquet", ["label"]) == [(1,)]


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf_8", "U8"])
def test_a_byte_order_mark_is_no_part_of_a_name_whatever_utf_8_is_called(encoding: str) -> None:
    assert rows("\ufefftext\none\n", "x.csv", ["text"], encoding=encoding) == [("one",)]


def test_a_column_whose_name_holds_a_separator_may_be_wanted() -> None:
    assert rows("a;b\none\n", "x.csv", ["a;b"]) == [("one",)]


def test_what_cannot_be_seen_in_a_columns_name_is_shown() -> None:
    with pytest.raises(UsageError, match=r"its columns are ' text', 'la\\u200bbel'"):
        rows(" text,la\u200bbel\n", "x.csv", ["text"])


def test_utf_16_is_told_by_its_first_bytes() -> None:
    content = "text\none\n".encode("utf-16")
    with pytest.raises(UsageError, match=r"x\.csv is not UTF-8, .* set data\.source\.encoding=utf-16"):
        rows(content, "x.csv", ["text"])
    assert rows(content, "x.csv", ["text"], encoding="utf-16") == [("one",)]


def test_the_encoding_is_the_configs() -> None:
    assert rows("text\ncafé\n".encode("latin-1"), "x.csv", ["text"], encoding="latin-1") == [("café",)]
    with pytest.raises(UsageError, match=r"data\.source\.encoding=klingon"):
        rows("text\n", "x.csv", ["text"], encoding="klingon")


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from("ab")), min_size=1))
def test_any_text_survives_json_lines_and_parquet(pairs: list[tuple[str, str]]) -> None:
    content = "\n".join(json.dumps({"text": text, "label": label}) for text, label in pairs)
    assert rows(content, "x.jsonl", ["text", "label"]) == pairs
    table = io.BytesIO()
    pq.write_table(pa.table({"text": [text for text, _ in pairs], "label": [label for _, label in pairs]}), table)
    assert rows(table.getvalue(), "x.parquet", ["text", "label"]) == pairs


def test_a_field_may_have_megabytes() -> None:
    text = "word " * 2_000_000
    assert rows(f"text,label\n{text},a\n", "x.csv", ["text"]) == [(text,)]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("text,label\none,a\ntwo\n", "x.csv", r"row 2 \(line 3\) of x.csv has 1 fields, but there are 2 columns: text, label"),
        ("text,label\none,a\nan,unquoted,comma\n", "x.csv", r"row 2 \(line 3\) of x.csv has 3 fields"),
        ('text,label\none,a\n"never closed,b\n', "x.csv", r"row 2 of x\.csv opens a quotation mark that nothing closes; .*write it twice"),
        ("text,text,label\none,two,a\n", "x.csv", r"x\.csv has 2 columns 'text'; rename all but one"),
        ("text,klass\none,a\n", "x.csv", r"x.csv has no column 'label'; its columns are 'text', 'klass'; set data.text and data.label"),
        ("", "x.csv", r"^x.csv is empty; the first line should name the columns, among them 'text', 'label'"),
        ("\ntext,label\none,a\n", "x.csv", r"^the first line of x.csv is empty"),
        ("text;label\none;a\n", "x.csv", r"x.csv is not separated by commas: its first line is 'text;label'; save it with commas"),
        ("text\tlabel\none\ta\n", "x.csv", r"x.csv is not separated by commas: .*; set data\.source\.format=tsv"),
        ("text,label\none,a\n", "x.tsv", r"x.tsv is not separated by tabs: its first line is 'text,label'; set data\.source\.format=csv"),
        ('{"text": "one", "label": "a"}\nno json\n', "x.jsonl", r"row 2 of x.jsonl is not JSON"),
        ('{"text": "one"}\n', "x.jsonl", r"row 1 of x.jsonl has no column 'label'; its columns are 'text'"),
        ("[1]\n", "x.jsonl", r"row 1 of x.jsonl is not a JSON object"),
        ("no parquet", "x.parquet", r"x.parquet cannot be read as parquet"),
        ("one\n", "x.txt", r"x.txt has no column 'label'; its columns are 'text'"),
        ("one\n", "x.doc", r"cannot tell the format of x.doc.*data\.source\.format"),
    ],
)
def test_what_cannot_be_read_is_named(content: str, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rows(content, name, ["text", "label"])


def test_text_that_is_not_in_its_encoding_is_refused() -> None:
    for name, content in (
        ("x.csv", b"text\ngood\nb\xffd\n"),
        ("x.jsonl", b'{"text": "good"}\n{"text": "b\xffd"}\n'),
        ("x.txt", b"good\nb\xffd"),
    ):
        (good,), (bad,) = rows(content, name, ["text"])
        assert checked_text(good, "row 1") == "good"
        with pytest.raises(UsageError, match=r"row 2 is not valid text.*data\.source\.encoding"):
            checked_text(bad, "row 2")
    with pytest.raises(UsageError, match="row 3 is not valid text"):
        checked_text(json.loads(r'"\ud800"'), "row 3")  # half a pair of surrogates
    table = io.BytesIO()
    strings = pa.array([b"good", b"b\xffd"]).view(pa.string())
    pq.write_table(pa.table({"text": strings}), table)
    with pytest.raises(UsageError, match="row 2 is not valid text"):
        checked_text(rows(table.getvalue(), "x.parquet", ["text"])[1][0], "row 2")


def test_labels_are_names_and_a_threshold_makes_two() -> None:
    assert [checked_label(value, None, "row") for value in ("a", 3, 3.0, True, None, "", " ")] == ["a", "3", "3", "True", "", "", ""]
    assert [checked_label(value, 0.0, "row") for value in ("0.0", -1, "2.5", 1e-9)] == ["negative", "negative", "positive", "positive"]
    with pytest.raises(UsageError, match=r"row 7 has the label 2\.5.*data\.label_threshold"):
        checked_label(2.5, None, "row 7")
    with pytest.raises(UsageError, match="which is no number"):
        checked_label(10**400, 0.0, "row 7")
    for value in ("good", "nan"):
        with pytest.raises(UsageError, match=rf"row 7 has the label '{value}', which is no number"):
            checked_label(value, 0.0, "row 7")
    with pytest.raises(UsageError, match="row 7 holds list where text belongs"):
        checked_text(["a"], "row 7")
