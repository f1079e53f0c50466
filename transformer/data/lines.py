"""Standard input and output as lines of UTF-8, and a line as a text or a pair of texts; the input may be endless."""

import codecs
import json
import sys
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from typing import TypeVar

from transformer.config.errors import UsageError
from transformer.data.sources import Text

T = TypeVar("T")


def open_standard_streams(*, reading: bool) -> None:
    """Have standard output written in UTF-8, whatever the locale.

    Raises UsageError where it is closed, or standard input is and `reading` says that it will be read.
    """
    if sys.stdout is None:
        raise UsageError("standard output is closed, and the answers go there; send them to a file with > FILE, or leave >&- out")
    if reading and sys.stdin is None:
        raise UsageError("standard input is closed, and it would be read; send it a file with < FILE, or leave <&- out")
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # it is one that can be


def answer_standard_input(kind: str, most: int, parse: Callable[[str, str], T], answer: Callable[[list[T]], None]) -> None:
    """Answer the lines of standard input in order, as soon as they can be read.

    Args:
        kind: what a line holds, told to a person who types.
        most: how many lines are answered together at most.
        parse: makes of a line, without its end, and of the words that say where it stands what is answered.

    Raises UsageError at the first line that is not UTF-8, or that `parse` refuses; those before it are answered.
    """
    if sys.stdin.isatty():
        sys.stderr.write(f"Type a {kind} a line; Ctrl-D ends.\n")
    for first, lines in _read_lines(sys.stdin.buffer, most):  # type: ignore[arg-type]  # it is one that is buffered
        parsed = []
        try:
            for row, line in enumerate(lines, start=first):
                where = f"line {row} of standard input"
                parsed.append(parse(_decoded(line.removeprefix(codecs.BOM_UTF8) if row == 1 else line, where), where))
        finally:
            if parsed:
                answer(parsed)


def parse_text(text: str, where: str, *, pairs: bool) -> Text:
    """The text, or for a model of `pairs` the two texts of its JSON list. Raises UsageError where they cannot be read."""
    texts = [text]
    if pairs:
        try:
            texts = json.loads(text)
        except (ValueError, RecursionError):
            texts = []
        if not (isinstance(texts, list) and len(texts) == 2 and all(isinstance(part, str) for part in texts)):
            raise UsageError(
                f'{where} is not a pair, and this run was trained on pairs; write a JSON list of two strings: ["first", "second"]'
            )
    check_unicode("".join(texts), where)
    return (texts[0], texts[1]) if pairs else text


def check_unicode(text: str, where: str) -> None:
    """Raise UsageError where the text holds bytes of a command line that are not UTF-8, or half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{where} is not UTF-8, or escapes half of a surrogate pair; convert or correct it") from error


def _read_lines(stream: BufferedIOBase, most: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield (number of the first line, lines) for the lines that can be read without waiting, at least one and at most so many."""
    pending, row = bytearray(), 1
    while chunk := stream.read1(1 << 20):
        pending += chunk
        end = pending.rfind(b"\n", len(pending) - len(chunk)) + 1
        lines = bytes(pending[:end]).split(b"\n")[:-1]
        del pending[:end]
        for start in range(0, len(lines), most):
            yield row + start, lines[start : start + most]
        row += len(lines)
    if pending:
        yield row, [bytes(pending)]


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} is not UTF-8 (byte {error.start + 1}); convert the input, or drop that line") from error
