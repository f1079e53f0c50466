"""The words of a tokenized text, as a person sees them: tokens that are pieces of one word, put together."""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from tokenizers import Encoding, Tokenizer

from transformer.data.sources import Text
from transformer.data.tokenization import CHARACTERS_PER_TOKEN, cut, truncating

WRITTEN_WITHOUT_SPACES = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Kana and Chinese characters: no space tells where a word ends, so each token stays by itself."""


@dataclass(frozen=True)
class Word:
    """A run of tokens that is shown as one."""

    first: int
    """Its first token."""
    end: int
    """The token after its last."""
    part: int | None
    """0 in the first text, 1 in the second of a pair; None for a special token."""
    begin: int
    """Its first character in that text."""
    stop: int
    """The character after its last."""
    special: str = ""
    """The name of a special token, such as [CLS]."""


def encode_text(tokenizer: Tokenizer, text: Text, maximum_length: int) -> Encoding:
    """The tokens that `encode_texts` gives for this text, with where in the text each stands."""
    read = cut(text, maximum_length)
    with truncating(tokenizer, maximum_length):
        return tokenizer.encode(read) if isinstance(read, str) else tokenizer.encode(*read)


def cut_texts(tokenizer: Tokenizer, encoding: Encoding, texts: tuple[str, ...], maximum_length: int) -> tuple[bool, ...]:
    """Which of the texts go on, not with blanks alone, behind what `encode_text` read: it has a most of tokens and one of characters."""
    most = maximum_length * CHARACTERS_PER_TOKEN
    ends = []
    for part, text in enumerate(texts):
        stops = [stop for (_, stop), sequence in zip(encoding.offsets, encoding.sequence_ids, strict=True) if sequence == part]
        longer = len(text) > most or len(tokenizer.encode(text, add_special_tokens=False).ids) > len(stops)
        ends.append(longer and bool(text[max(stops, default=0) :].strip()))
    return tuple(ends)


def text_words(encoding: Encoding, texts: tuple[str, ...]) -> list[Word]:
    """The words of the texts, special tokens among them, in the order of the tokens.

    Tokens are put together where the tokenizer says that they belong to one word, unless a Chinese or Japanese character stands at
    their border; and where they share a character, as the bytes of one do.
    """
    words: list[Word] = []
    rows = zip(encoding.tokens, encoding.special_tokens_mask, encoding.sequence_ids, encoding.word_ids, encoding.offsets, strict=True)
    last_word: int | None = None
    for index, (token, special, part, word, (begin, stop)) in enumerate(rows):
        if special or part is None:
            words.append(Word(index, index + 1, None, 0, 0, token))
            continue
        begin, stop = _without_spaces(texts[part], begin, stop)  # noqa: PLW2901
        before = words[-1] if words else None
        if before is not None and before.part == part and _joined(before, begin, texts[part], same=word == last_word):
            words[-1] = Word(before.first, index + 1, part, min(before.begin, begin), max(before.stop, stop))
        else:
            words.append(Word(index, index + 1, part, begin, stop))
        last_word = word
    return words


def membership(words: list[Word]) -> Float[np.ndarray, "tokens words"]:
    """1 where a token belongs to a word, else 0."""
    matrix = np.zeros((words[-1].end if words else 0, len(words)), np.float32)
    for index, word in enumerate(words):
        matrix[word.first : word.end, index] = 1.0
    return matrix


def _without_spaces(text: str, begin: int, stop: int) -> tuple[int, int]:
    shown = text[begin:stop]
    # A token of a space alone stands, without a character, where the word begins that it belongs to.
    return stop - len(shown.lstrip()), stop - len(shown) + len(shown.rstrip()) if shown.strip() else stop


def _joined(before: Word, begin: int, text: str, *, same: bool) -> bool:
    if begin < before.stop:
        return True
    if before.begin == before.stop:
        return same
    at_border = text[before.stop - 1 : before.stop] + text[begin : begin + 1]
    return same and begin == before.stop and not WRITTEN_WITHOUT_SPACES.search(at_border)
