"""Tokenizers trained on the training split, the same for the same texts."""

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from transformer.config.errors import UsageError
from transformer.config.schema import TrainedTokenizer
from transformer.data.sources import Text
from transformer.data.tokenization import SPECIAL_TOKEN_NAMES, TEXTS_AT_ONCE
from transformer.data.word_borders import SPACE

SPECIAL = [names[0] for names in SPECIAL_TOKEN_NAMES.values()]
UNKNOWN = SPECIAL_TOKEN_NAMES["unknown"][0]
ENDLESS_WORD = re.compile(r"\S{256}")
CHARACTERS_AT_ONCE = 100_000
BYTES = 256


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


def _parts(texts: Sequence[Text]) -> Iterator[str]:
    for text in texts:
        yield from [text] if isinstance(text, str) else text


def _trainable(texts: Sequence[Text]) -> Iterator[str]:
    # Trainers take time that grows with the square of a word's length: a megabyte without a space would take minutes.
    for part in _parts(texts):
        for begin in range(0, len(part), CHARACTERS_AT_ONCE):
            yield ENDLESS_WORD.sub(r"\g<0> ", part[begin : begin + CHARACTERS_AT_ONCE])


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
