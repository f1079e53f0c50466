"""Existing tokenizers, and texts as flat arrays of tokens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int, Integer
from tokenizers import Encoding, Tokenizer

from transformer.config.errors import UsageError
from transformer.data.sources import Text

CHARACTERS_PER_TOKEN = 64
TEXTS_AT_ONCE = 4096


@dataclass(frozen=True)
class SpecialTokens:
    """Indices of the special tokens in the vocabulary."""

    padding: int
    unknown: int
    first: int
    separator: int
    mask: int


SPECIAL_TOKEN_NAMES = {
    "padding": ("[PAD]", "<pad>"),
    "unknown": ("[UNK]", "<unk>"),
    "first": ("[CLS]", "<s>", "<cls>"),
    "separator": ("[SEP]", "</s>", "<sep>"),
    "mask": ("[MASK]", "<mask>"),
}
"""What tokenizers call their special tokens: BERT's names, then those of RoBERTa and its kind."""


@dataclass(frozen=True)
class Split:
    """Tokenized texts, one after the other in a flat array."""

    tokens: Integer[np.ndarray, " tokens"]
    offsets: Int[np.ndarray, " boundaries"]
    """Where each text begins in `tokens`; at the end, where the last one ends."""
    labels: Int[np.ndarray, " examples"]
    pair_starts: Int[np.ndarray, " examples"] | None = None
    """Where the second text of a pair begins, counted from the start of the example."""
    pair_texts: Int[np.ndarray, "examples 2"] | None = None
    """Where labels are not read, a number for each text of a pair, the same where texts are the same; see `number_texts`."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> Int[np.ndarray, " examples"]:
        """Tokens of each example."""
        return np.diff(self.offsets)


def special_tokens(tokenizer: Tokenizer, name: str = "the tokenizer") -> SpecialTokens:
    """The special tokens of a tokenizer: what it writes around a text, and the others by their names.

    What a text begins and ends with is not taken by name, since a vocabulary may hold a `<s>` that is not used. Raises UsageError where a
    special token is missing.
    """
    frame = tokenizer.encode("").ids
    found = {"first": frame[0], "separator": frame[-1]} if len(frame) > 1 else {}
    for role, names in SPECIAL_TOKEN_NAMES.items():
        if role in found:
            continue
        indices = [index for index in map(tokenizer.token_to_id, names) if index is not None]
        if not indices:
            raise UsageError(
                f"{name} has no {role} token ({' or '.join(names)}); add it, or train a tokenizer instead: tokenizer.kind=wordpiece"
            )
        found[role] = indices[0]
    return SpecialTokens(**found)


def read_tokenizer(path: Path, gaps_remedy: str = "renumber them") -> Tokenizer:
    """An existing tokenizer, as its file has it, but without settings of padding and truncation: these are the batches' affair.

    Raises UsageError where it is missing or cannot be read, or where its indices have gaps, with what to do about these.
    """
    if not path.is_file():
        raise UsageError(f"there is no tokenizer file {path.absolute()}; correct tokenizer.path")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise UsageError(f"{path} is not a tokenizer.json of the tokenizers library: {error}") from error
    if (last := max(tokenizer.get_vocab().values(), default=-1)) >= tokenizer.get_vocab_size():
        # An embedding has as many rows as the vocabulary has entries, and JAX reads past its end without an error.
        raise UsageError(
            f"{path} has gaps in its vocabulary: {tokenizer.get_vocab_size()} entries, but indices up to {last}; {gaps_remedy}"
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@contextmanager
def truncating(tokenizer: Tokenizer, maximum_length: int) -> Iterator[None]:
    """Inside, the tokenizer cuts texts, or the longer of a pair, to the maximum length; nothing is padded."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(maximum_length)
    try:
        yield
    finally:
        tokenizer.no_truncation()


def cut(text: Text, maximum_length: int) -> Text:
    """What is looked at of a text, or of each of a pair: 64 characters for each token of the maximum length.

    No tokenizer's tokens are that long on average, and the library would work through all of a text of megabytes before it cuts.
    """
    most = maximum_length * CHARACTERS_PER_TOKEN
    return text[:most] if isinstance(text, str) else (text[0][:most], text[1][:most])


def encode_texts(tokenizer: Tokenizer, texts: Sequence[Text], maximum_length: int) -> Split:
    """Texts, or pairs of texts, as tokens: special tokens included, cut to the maximum length (see `cut`, too), labels all 0."""
    pairs = bool(texts) and isinstance(texts[0], tuple)
    tokens, starts = [], []
    for encoding in _encodings(tokenizer, [cut(text, maximum_length) for text in texts], maximum_length):
        ids, types, sequences = encoding.ids, encoding.type_ids, encoding.sequence_ids
        tokens.append(np.asarray(ids, np.int32))
        if pairs:
            starts.append(types.index(1) if 1 in types else sequences.index(1) if 1 in sequences else len(ids))
    return replace(_split(tokens), pair_starts=np.asarray(starts, np.int32) if pairs else None)


def encode_pieces(tokenizer: Tokenizer, texts: Sequence[Text], maximum_length: int) -> Split:
    """Texts as tokens, those longer than the maximum length split into pieces that follow each other, labels all 0.

    Every piece has the special tokens that a text has, and all but a text's last are full; nothing is lost.
    """
    encodings = _encodings(tokenizer, texts, maximum_length)
    return _split([np.asarray(piece.ids, np.int32) for encoding in encodings for piece in (encoding, *encoding.overflowing)])


def number_texts(tokenizer: Tokenizer, pairs: Sequence[Text], maximum_length: int) -> Int[np.ndarray, "examples 2"]:
    """A number for each text of the pairs, the same where the first `maximum_length` tokens are the same.

    In a pair the same text may have fewer tokens: the longer of the two is cut.
    """
    texts = [cut(text, maximum_length) for pair in pairs for text in pair]
    numbers: dict[bytes, int] = {}
    tokens = (np.asarray(encoding.ids, np.int32).tobytes() for encoding in _encodings(tokenizer, texts, maximum_length))
    return np.array([numbers.setdefault(ids, len(numbers)) for ids in tokens], np.int32).reshape(-1, 2)


def _encodings(tokenizer: Tokenizer, texts: Sequence[Text], maximum_length: int) -> Iterator[Encoding]:
    with truncating(tokenizer, maximum_length):
        for begin in range(0, len(texts), TEXTS_AT_ONCE):
            yield from tokenizer.encode_batch_fast(texts[begin : begin + TEXTS_AT_ONCE])


def _split(tokens: list[np.ndarray]) -> Split:
    offsets = np.cumsum([0, *map(len, tokens)], dtype=np.int64)
    return Split(np.concatenate([np.zeros(0, np.int32), *tokens]), offsets, labels=np.zeros(len(tokens), np.int32))
