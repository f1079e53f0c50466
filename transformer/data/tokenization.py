"""Tokenizers: trained on the training split, or read from a `tokenizer.json`; and texts as flat arrays of tokens."""

import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Integer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from transformer.config.errors import UsageError
from transformer.config.schema import TrainedTokenizer
from transformer.data.sources import Text

UNKNOWN = "[UNK]"
SPECIAL = ["[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]"]
SPACE = "▁"  # what the Metaspace pre-tokenizer writes for a space
BYTE_LEVEL_SPACE = "Ġ"  # what the ByteLevel pre-tokenizer writes for it
ENDLESS_WORD = re.compile(r"\S{256}")
CHARACTERS_AT_ONCE = 100_000
CHARACTERS_PER_TOKEN = 64
TEXTS_AT_ONCE = 4096
BYTES = 256
_VISIBLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
BYTE_LEVEL = {chr(byte): byte for byte in _VISIBLE} | {
    chr(BYTES + place): byte for place, byte in enumerate(byte for byte in range(BYTES) if byte not in _VISIBLE)
}
"""What the ByteLevel pre-tokenizer writes for each byte: visible characters as they are, the others by those from U+0100 on."""
SPACELESS_SCRIPTS = ("CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""How Unicode's names of characters begin, in scripts that put no spaces between words."""


@dataclass(frozen=True)
class SpecialTokens:
    """Indices of the special tokens in the vocabulary."""

    padding: int
    unknown: int
    first: int
    separator: int
    mask: int


NAMES = {
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
    """A number for each text of a pair, the same where texts are the same; see `number_texts`."""

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
    for role, names in NAMES.items():
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


def train_tokenizer(config: TrainedTokenizer, texts: Sequence[Text]) -> Tokenizer:
    """A tokenizer trained on these texts, [PAD] at 0; text `a` becomes [CLS] a [SEP], a pair [CLS] a [SEP] b [SEP].

    The same for the same texts in every process, but for `unigram`: its trainer adds numbers in the order of a hash table, so that
    scores differ in their last digits, and the order of near ties with them. Raises UsageError for a vocabulary too small for the kind.
    """
    smallest = len(SPECIAL) + (BYTES if config.kind == "byte" else 1)
    if config.vocabulary_size < smallest:
        raise UsageError(f"tokenizer.kind={config.kind} needs tokenizer.vocabulary_size={smallest} or more, not {config.vocabulary_size}")
    tokenizer = _untrained(config)
    trainer = _trainer(config, tokenizer, texts)
    try:
        tokenizer.train_from_iterator(_trainable(texts), trainer, length=len(texts))
    except Exception as error:  # the library's own; unigram keeps every character and has no room for more of them than pieces
        raise UsageError(
            f"cannot train a {config.kind} tokenizer of {config.vocabulary_size} pieces: {error}; raise "
            "tokenizer.vocabulary_size, or set tokenizer.kind=character or byte"
        ) from error
    if config.kind == "wordpiece":
        # Only now are the continuing characters pieces like any other and no special tokens, which would be found in the raw text.
        trained, tokenizer = tokenizer, _untrained(config)
        tokenizer.model = models.WordPiece(trained.get_vocab(), unk_token=UNKNOWN)
        tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def encode_texts(tokenizer: Tokenizer, texts: Sequence[Text], maximum_length: int) -> Split:
    """Texts, or pairs of texts, as tokens: special tokens included, cut to the maximum length, labels all 0.

    Of a text, no more than 64 characters for each token of the maximum length are looked at.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(maximum_length)
    pairs = bool(texts) and isinstance(texts[0], tuple)
    tokens, lengths, starts = [np.zeros(0, np.int32)], [], []
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        # No tokenizer's tokens are that long on average, and the library would work through all of a text of megabytes before it cuts.
        batch = [_cut(text, maximum_length * CHARACTERS_PER_TOKEN) for text in texts[begin : begin + TEXTS_AT_ONCE]]
        for encoding in tokenizer.encode_batch_fast(batch):
            ids = np.asarray(encoding.ids, np.int32)
            tokens.append(ids)
            lengths.append(len(ids))
            if pairs:
                types = encoding.type_ids
                sequences = encoding.sequence_ids
                starts.append(types.index(1) if 1 in types else sequences.index(1) if 1 in sequences else len(ids))
    tokenizer.no_truncation()
    return Split(
        tokens=np.concatenate(tokens),
        offsets=_offsets(lengths),
        labels=np.zeros(len(texts), np.int32),
        pair_starts=np.asarray(starts, np.int32) if pairs else None,
    )


def number_texts(tokenizer: Tokenizer, pairs: Sequence[Text], maximum_length: int) -> Int[np.ndarray, "examples 2"]:
    """A number for each text of the pairs, the same where the first `maximum_length` tokens are the same.

    In a pair the same text may have fewer tokens: the longer of the two is cut.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(maximum_length)
    texts = [_cut(text, maximum_length * CHARACTERS_PER_TOKEN) for pair in pairs for text in pair]
    batches = (texts[begin : begin + TEXTS_AT_ONCE] for begin in range(0, len(texts), TEXTS_AT_ONCE))
    tokens = (np.asarray(encoding.ids, np.int32).tobytes() for batch in batches for encoding in tokenizer.encode_batch_fast(batch))
    numbers: dict[bytes, int] = {}
    found = np.array([numbers.setdefault(ids, len(numbers)) for ids in tokens], np.int32).reshape(-1, 2)
    tokenizer.no_truncation()
    return found


def encode_pieces(tokenizer: Tokenizer, texts: Sequence[Text], maximum_length: int) -> Split:
    """Texts as tokens, those longer than the maximum length split into pieces that follow each other, labels all 0.

    Every piece has the special tokens that a text has, and all but a text's last are full; nothing is lost.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(maximum_length)
    tokens, lengths = [np.zeros(0, np.int32)], []
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        for encoding in tokenizer.encode_batch_fast(texts[begin : begin + TEXTS_AT_ONCE]):
            for piece in (encoding, *encoding.overflowing):
                tokens.append(np.asarray(piece.ids, np.int32))
                lengths.append(len(piece.ids))
    tokenizer.no_truncation()
    return Split(tokens=np.concatenate(tokens), offsets=_offsets(lengths), labels=np.zeros(len(lengths), np.int32))


def _offsets(lengths: list[int]) -> Int[np.ndarray, " boundaries"]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


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


def _parts(texts: Sequence[Text]) -> Iterator[str]:
    for text in texts:
        yield from [text] if isinstance(text, str) else text


def _trainable(texts: Sequence[Text]) -> Iterator[str]:
    # Trainers take time that grows with the square of a word's length: a megabyte without a space would take minutes.
    for part in _parts(texts):
        for begin in range(0, len(part), CHARACTERS_AT_ONCE):
            yield ENDLESS_WORD.sub(r"\g<0> ", part[begin : begin + CHARACTERS_AT_ONCE])


def _cut(text: Text, characters: int) -> Text:
    return text[:characters] if isinstance(text, str) else (text[0][:characters], text[1][:characters])


def _untrained(config: TrainedTokenizer) -> Tokenizer:
    lowercase = [normalizers.Lowercase()] if config.lowercase else []
    # BERT's cleaning (control characters out, every space a space, Chinese characters apart), accents kept.
    bert = normalizers.BertNormalizer(strip_accents=False, lowercase=config.lowercase)
    # SentencePiece's cleaning, `nmt_nfkc`.
    sentence_piece = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), *lowercase])
    spaced = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation("isolated")])
    model: models.Model
    normalizer: normalizers.Normalizer
    pieces: pre_tokenizers.PreTokenizer
    decoder: decoders.Decoder
    match config.kind:
        case "wordpiece":
            model = models.WordPiece(unk_token=UNKNOWN)
            normalizer, pieces, decoder = bert, pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        case "bpe":
            model = models.BPE(unk_token=UNKNOWN, fuse_unk=True)
            normalizer, pieces, decoder = sentence_piece, spaced, decoders.Metaspace()
        case "unigram":
            model = models.Unigram()
            normalizer, pieces, decoder = sentence_piece, spaced, decoders.Metaspace()
        case "byte":
            model = models.BPE()
            normalizer = normalizers.Sequence([normalizers.NFC(), *lowercase])
            pieces, decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
        case "character":
            model = models.WordLevel(unk_token=UNKNOWN)
            pieces = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("."), "isolated")])
            normalizer, decoder = bert, decoders.Fuse()
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, pieces, decoder
    return tokenizer


def _trainer(config: TrainedTokenizer, tokenizer: Tokenizer, texts: Sequence[Text]) -> trainers.Trainer:
    size: dict[str, Any] = {"vocab_size": config.vocabulary_size, "special_tokens": SPECIAL, "show_progress": False}
    frequent: dict[str, Any] = {**size, "min_frequency": config.minimum_frequency}
    match config.kind:
        case "wordpiece":
            # The trainer numbers continuing characters as a hash table gives them, and breaks ties by these numbers. As special tokens
            # they have the numbers that we give them.
            starting, continuing = _alphabet(config, tokenizer, texts, continuing=True)
            frequent["special_tokens"] = [*SPECIAL, *(f"##{character}" for character in continuing)]
            return trainers.WordPieceTrainer(**frequent, initial_alphabet=starting, limit_alphabet=len(starting))
        case "bpe":
            characters = [SPACE, *_alphabet(config, tokenizer, texts, continuing=False)[0]]
            return trainers.BpeTrainer(**frequent, initial_alphabet=characters, limit_alphabet=len(characters))
        case "unigram":
            return trainers.UnigramTrainer(**size, unk_token=UNKNOWN)
        case "byte":
            return trainers.BpeTrainer(**frequent, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
        case "character":
            return trainers.WordLevelTrainer(**frequent)


def _alphabet(config: TrainedTokenizer, tokenizer: Tokenizer, texts: Sequence[Text], *, continuing: bool) -> tuple[list[str], list[str]]:
    """The most frequent characters, as many as leave a quarter of the vocabulary for longer pieces; and, counted apart, those inside words.

    The library's own choice breaks ties in the order of a hash table.
    """
    counts = np.zeros((2, sys.maxunicode + 1), np.int64)
    apart = np.ones(sys.maxunicode + 1, bool)
    parts = list(_parts(texts))
    for begin in range(0, len(parts), TEXTS_AT_ONCE):
        text = "\n".join(map(tokenizer.normalizer.normalize_str, parts[begin : begin + TEXTS_AT_ONCE]))
        characters = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        here = np.bincount(characters, minlength=counts.shape[1])
        if continuing:
            for character in np.flatnonzero((here > 0) & (counts[0] == 0)):
                apart[character] = len(tokenizer.pre_tokenizer.pre_tokenize_str(f"a{chr(character)}a")) > 1
            inside = ~apart[characters]
            counts[1] += np.bincount(characters[1:][inside[1:] & inside[:-1]], minlength=counts.shape[1])
        counts[0] += here
    counts[0, [ord(space) for space in " \n"]] = 0
    places, codes = np.nonzero(counts >= config.minimum_frequency)
    kept = np.argsort(-counts[places, codes], kind="stable")[: (config.vocabulary_size - len(SPECIAL)) * 3 // 4]
    starting, inside_words = (sorted(map(chr, codes[kept][places[kept] == place])) for place in (0, 1))
    return starting, inside_words
