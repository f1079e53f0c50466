"""Which tokens of a vocabulary go on with a word."""

import json
import unicodedata

import numpy as np
from jaxtyping import Bool
from tokenizers import Tokenizer

SPACE = "▁"
"""What the Metaspace pre-tokenizer writes for a space."""
BYTE_LEVEL_SPACE = "Ġ"
"""What the ByteLevel pre-tokenizer writes for it."""
_VISIBLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
BYTE_LEVEL = {chr(byte): byte for byte in _VISIBLE} | {
    chr(256 + place): byte for place, byte in enumerate(byte for byte in range(256) if byte not in _VISIBLE)
}
"""What the ByteLevel pre-tokenizer writes for each byte: visible characters as they are, the others by those from U+0100 on."""
SPACELESS_SCRIPTS = ("CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""How Unicode's names of characters begin, in scripts that put no spaces between words."""


def continuing_tokens(tokenizer: Tokenizer) -> Bool[np.ndarray, " vocabulary"]:
    """Which entries of the vocabulary go on with the word of the token before them.

    In WordPiece they begin with `##`. Elsewhere they are those that begin with a letter, a digit or an accent and not with the sign of a
    space (`▁` or `Ġ`); but a character of a script without spaces, such as Chinese, begins a word. A vocabulary without such signs, as of
    characters, does not tell words, and each token is one.
    """
    kind: str = json.loads(tokenizer.to_str())["model"]["type"]
    vocabulary = tokenizer.get_vocab()
    added = tokenizer.get_added_tokens_decoder()
    continues = np.zeros(tokenizer.get_vocab_size(), bool)
    # An empty entry, which some vocabularies have, goes on with nothing.
    ordinary = {token: index for token, index in vocabulary.items() if token and index not in added}
    marked, of_bytes = (any(token.startswith(sign) for token in ordinary) for sign in (SPACE, BYTE_LEVEL_SPACE))
    of_bytes = of_bytes and BYTE_LEVEL.keys() >= set("".join(ordinary))
    for token, index in ordinary.items():
        if kind == "WordPiece":
            continues[index] = token.startswith("##")
        elif of_bytes:
            continues[index] = _bytes_go_on(bytes(BYTE_LEVEL[character] for character in token))
        else:
            continues[index] = marked and _goes_on(token[0])
    return continues


def _bytes_go_on(piece: bytes) -> bool:
    if 0x80 <= piece[0] < 0xC0:  # the rest of a character
        return True
    first = piece.decode(errors="replace")[0]
    # The beginning of a character. Those of two bytes are letters of scripts with spaces; longer ones are Chinese more often than not.
    return piece[0] < 0xE0 if first == "\N{REPLACEMENT CHARACTER}" else _goes_on(first)


def _goes_on(character: str) -> bool:
    spaceless = unicodedata.name(character, "").startswith(SPACELESS_SCRIPTS)
    return unicodedata.category(character)[0] in "LMN" and not spaceless
