"""Standard input and output as lines of UTF-8; the input may be endless."""

import sys
from collections.abc import Iterator
from io import BufferedIOBase

from transformer.config.errors import UsageError


def open_standard_streams(*, reading: bool) -> None:
    """Have standard output written in UTF-8, whatever the locale.

    Raises UsageError where it is closed, or standard input is and `reading` says that it will be read.
    """
    if sys.stdout is None:
        raise UsageError("standard output is closed, and the answers go there; send them to a file with > FILE, or leave >&- out")
    if reading and sys.stdin is None:
        raise UsageError("standard input is closed, and it would be read; send it a file with < FILE, or leave <&- out")
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # it is one that can be


def read_lines(stream: BufferedIOBase, most: int) -> Iterator[tuple[int, list[bytes]]]:
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


def decoded(line: bytes, where: str) -> str:
    """A line as text, without its end. Raises UsageError where it is not UTF-8."""
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} is not UTF-8 (byte {error.start + 1}); convert the input, or drop that line") from error
