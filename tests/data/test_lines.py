"""Standard input as lines: all of them, whole, without their ends, and those before a bad one are answered."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.config.errors import UsageError
from transformer.data.lines import answer_standard_input, parse_text


class Cut(io.BytesIO):
    """A stream that gives a few bytes a read."""

    def __init__(self, content: bytes, size: int):
        super().__init__(content)
        self.size = size

    def read1(self, _):
        return super().read1(self.size)


def answered(content, *, size=1 << 20, most=9, pairs=False):
    """What was answered, a list a call, and the error that ended it."""
    calls, message = [], None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(Cut(content, size)))
        try:
            answer_standard_input("text", most, lambda line, where: parse_text(line, where, pairs=pairs), calls.append)
        except UsageError as error:
            message = str(error)
    return calls, message


@given(
    st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), max_size=30), st.integers(1, 20), st.integers(1, 9)
)
def test_every_line_is_answered_once_however_reads_cut_the_stream(texts, size, most):
    calls, message = answered("".join(f"{text}\n" for text in texts).encode(), size=size, most=most)
    expected = [text.removesuffix("\r") for text in texts]
    expected[:1] = [text.removeprefix("\ufeff") for text in expected[:1]]
    assert [text for call in calls for text in call] == expected
    assert all(1 <= len(call) <= most for call in calls)
    assert message is None


def test_a_byte_order_mark_is_no_part_of_the_first_text():
    assert answered(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n") == ([["one", "\ufefftwo"]], None)


def test_line_ends_are_no_part_of_a_text_and_the_last_needs_none():
    assert answered(b"one\r\n two \n\r\n\nlast") == ([["one", " two ", "", ""], ["last"]], None)


@pytest.mark.parametrize(
    ("bad", "pairs", "message"),
    [
        (b"caf\xe9", False, "line 3 of standard input is not UTF-8 (byte 4); convert the input, or drop that line"),
        (rb'["a", "\ud800"]', True, "line 3 of standard input is not UTF-8, or escapes half of a surrogate pair; convert or correct it"),
        (b'["a"]', True, "line 3 of standard input is not a pair, and this run was trained on pairs; write a JSON list of two strings: "),
    ],
)
def test_the_lines_before_a_bad_one_are_answered(bad, pairs, message):
    good = b'["a", "b"]\n'
    calls, told = answered(good * 2 + bad + b"\n" + good, pairs=pairs)
    assert [len(call) for call in calls] == [2]
    assert told.startswith(message)
    assert "\n" not in told


def test_a_pair_is_a_json_list_and_a_text_is_itself():
    assert parse_text('["a", "b"]', "it", pairs=True) == ("a", "b")
    assert parse_text('["a", "b"]', "it", pairs=False) == '["a", "b"]'


class Terminal(io.TextIOWrapper):
    """Standard input of a person who types."""

    def isatty(self):
        return True


def test_a_person_who_types_is_told_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(b"wheat\n")))
    asked = []
    answer_standard_input("query", 9, lambda line, where: line, asked.extend)
    assert asked == ["wheat"]
    assert capsys.readouterr().err == "Type a query a line; Ctrl-D ends.\n"
