"""Text of others in Markdown, so that nothing in it becomes markup."""

import re
from collections.abc import Sequence


def code(text: str) -> str:
    """A name as code, on one line, whatever is in it: the fence is longer than any in the name."""
    text = _printable(text)
    if not text.strip():
        return "(blank)"
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    # Next to a backtick the fence would grow; of a space on either side Markdown takes one away.
    space = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{space}{text}{space}{fence}"


def block(text: str) -> str:
    """Lines as indented code, which nothing in them can end."""
    return "\n".join(f"    {_printable(line)}".rstrip() for line in text.split("\n"))


def bullets(lines: Sequence[str]) -> str:
    """A list of lines."""
    return "\n".join(f"- {line}" for line in lines)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in text)
