"""Lines of a stream that may be endless, such as standard input."""

from collections.abc import Iterator
from io import BufferedIOBase

from transformer.config.errors import UsageError


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
