"""Tokenizers of every kind: special tokens in their places, no text that fails, the same result in every process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from transformer.config.errors import UsageError
from transformer.config.schema import TrainedTokenizer
from transformer.data.tokenization import encode_pieces, encode_texts, read_tokenizer, special_tokens
from transformer.data.tokenizer_training import train_tokenizer
from transformer.data.word_borders import continuing_tokens

KINDS = ["wordpiece", "bpe", "unigram", "byte", "character"]
WORDS = ["shares", "Profit", "rose", "café", "wheat", "3.5", "oil", "不错", "很好", "a"]
TEXTS = [" ".join(WORDS[(7 * row + step * step) % len(WORDS)] for step in range(12)) for row in range(200)]


def trained(kind: str, **settings: object) -> Tokenizer:
    return train_tokenizer(TrainedTokenizer(kind=kind, vocabulary_size=300, **settings), TEXTS)  # type: ignore[arg-type]


TOKENIZERS = {kind: trained(kind) for kind in KINDS}
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_special_tokens_have_their_places(kind: str) -> None:
    special = special_tokens(TOKENIZERS[kind])
    assert (special.padding, special.unknown, special.first, special.separator, special.mask) == (0, 1, 2, 3, 4)


def test_special_tokens_that_the_tokenizer_writes_go_before_their_usual_names() -> None:
    """Gemma's vocabulary, which mmBERT has, holds a <s> that frames nothing."""
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, "<unk>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)])
    special = special_tokens(tokenizer)
    assert (special.padding, special.unknown, special.first, special.separator, special.mask) == (0, 3, 2, 1, 4)
    tokenizer.post_processor = processors.Sequence([])
    assert (special_tokens(tokenizer).first, special_tokens(tokenizer).separator) == (5, 6)


@each_kind
def test_the_vocabulary_keeps_its_size(kind: str) -> None:
    chinese = ["".join(chr(0x4E00 + (row * step) % 3000) for step in range(40)) for row in range(300)]
    for texts in (TEXTS,) if kind == "unigram" else (TEXTS, chinese):
        assert train_tokenizer(TrainedTokenizer(kind=kind, vocabulary_size=300), texts).get_vocab_size() <= 300  # type: ignore[arg-type]


@each_kind
def test_a_text_is_framed_and_cut(kind: str) -> None:
    whole = encode_texts(TOKENIZERS[kind], [TEXTS[0]], 500)
    cut = encode_texts(TOKENIZERS[kind], [TEXTS[0]], 7)
    assert (whole.tokens[0], whole.tokens[-1]) == (2, 3)
    np.testing.assert_array_equal(cut.tokens, [*whole.tokens[:6], 3])


@each_kind
def test_a_pair_is_framed_cut_and_tells_where_the_second_text_begins(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    first, second = (encode_texts(tokenizer, [text], 500).tokens for text in TEXTS[:2])
    pair = encode_texts(tokenizer, [(TEXTS[0], TEXTS[1]), (TEXTS[0], "")], 500)
    assert pair.pair_starts is not None
    np.testing.assert_array_equal(pair.tokens[: pair.lengths[0]], [*first, *second[1:]])
    np.testing.assert_array_equal(pair.pair_starts, [len(first), len(first)])
    cut = encode_texts(tokenizer, [(TEXTS[0], TEXTS[1])], 9)
    assert cut.lengths.tolist() == [9]
    assert list(cut.tokens).count(3) == 2


@each_kind
def test_known_words_have_no_unknown_tokens(kind: str) -> None:
    assert 1 not in encode_texts(TOKENIZERS[kind], TEXTS, 500).tokens


@each_kind
def test_case_is_lowered_only_where_the_config_says_so(kind: str) -> None:
    for lowercase in (True, False):
        tokenizer = trained(kind, lowercase=lowercase)
        upper, lower = (encode_texts(tokenizer, [text], 50).tokens.tolist() for text in ("Profit", "profit"))
        assert (upper == lower) == lowercase


@each_kind
def test_accents_are_kept(kind: str) -> None:
    with_accent, without = (encode_texts(TOKENIZERS[kind], [text], 50).tokens.tolist() for text in ("café", "cafe"))
    assert with_accent != without


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "character"])
def test_rare_pieces_are_unknown(kind: str) -> None:
    texts = [*TEXTS, "µ"]
    assert 1 in encode_texts(train_tokenizer(TrainedTokenizer(kind=kind), texts), ["µ"], 9).tokens  # type: ignore[arg-type]
    assert 1 not in encode_texts(train_tokenizer(TrainedTokenizer(kind=kind, minimum_frequency=1), texts), ["µ"], 9).tokens  # type: ignore[arg-type]


@each_kind
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5), maximum=st.integers(4, 30))
def test_any_text_becomes_tokens_of_the_vocabulary(kind: str, texts: list[str], maximum: int) -> None:
    split = encode_texts(TOKENIZERS[kind], texts, maximum)
    assert len(split) == len(texts)
    assert split.offsets[-1] == len(split.tokens)
    assert np.all((split.lengths >= 2) & (split.lengths <= maximum))
    assert np.all((split.tokens >= 0) & (split.tokens < TOKENIZERS[kind].get_vocab_size()))
    assert split.tokens[split.offsets[:-1]].tolist() == [2] * len(texts)


@each_kind
def test_texts_of_megabytes_empty_unknown_and_of_control_characters_are_taken(kind: str) -> None:
    hard = ["", " \n", "x" * 3_000_000, "oil " * 500_000, "".join(map(chr, range(32))) + "\x7f\x85\u200b", "\U0001f600 \u0e01", "a\0b"]
    tokenizer = train_tokenizer(TrainedTokenizer(kind=kind, vocabulary_size=300), [*TEXTS, *hard])  # type: ignore[arg-type]
    assert encode_texts(tokenizer, hard, 16).lengths.max() <= 16
    assert encode_texts(TOKENIZERS[kind], hard, 16).lengths.tolist()[0] == 2


def test_no_texts_are_an_empty_split() -> None:
    assert len(encode_texts(TOKENIZERS["wordpiece"], [], 8)) == 0


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "byte", "character"])
def test_training_is_the_same_in_every_process(kind: str, tmp_path: Path) -> None:
    """Hash tables of the library are seeded anew in each process."""
    texts = ["".join(chr(0x4E00 + (row * step) % 400) for step in range(30)) + " abc bca cab" for row in range(100)]
    program = (
        "import sys, json; from transformer.config.schema import TrainedTokenizer\n"
        "from transformer.data.tokenizer_training import train_tokenizer\n"
        f"print(train_tokenizer(TrainedTokenizer(kind={kind!r}, vocabulary_size=320), json.loads(sys.stdin.read())).to_str())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", program], input=json.dumps(texts), capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(runs) == 1


def test_a_vocabulary_without_room_for_the_bytes_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"tokenizer\.vocabulary_size=261 or more, not 200"):
        train_tokenizer(TrainedTokenizer(kind="byte", vocabulary_size=200), TEXTS)


def test_a_unigram_vocabulary_without_room_for_the_characters_is_an_error() -> None:
    texts = [chr(0x4E00 + row) for row in range(300)]
    with pytest.raises(UsageError, match=r"unigram tokenizer of 100 pieces.*tokenizer\.vocabulary_size"):
        train_tokenizer(TrainedTokenizer(kind="unigram", vocabulary_size=100), texts)


def test_an_existing_tokenizer_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    padded = Tokenizer.from_str(TOKENIZERS["wordpiece"].to_str())
    padded.enable_padding(length=40)
    padded.enable_truncation(5)
    padded.save(str(path))
    split = encode_texts(read_tokenizer(path), [TEXTS[0]], 20)
    np.testing.assert_array_equal(split.tokens, encode_texts(TOKENIZERS["wordpiece"], [TEXTS[0]], 20).tokens)


def test_a_tokenizer_file_that_is_missing_broken_or_without_special_tokens_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no tokenizer file .*none\.json"):
        read_tokenizer(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(UsageError, match=r"broken\.json is not a tokenizer\.json"):
        read_tokenizer(tmp_path / "broken.json")
    plain = Tokenizer(models.WordLevel({"[UNK]": 0, "word": 1}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(UsageError, match=r"plain has no padding token \(\[PAD\] or <pad>\)"):
        special_tokens(plain, "plain")
    Tokenizer(models.WordLevel({"[UNK]": 0, "word": 7}, unk_token="[UNK]")).save(str(tmp_path / "gaps.json"))
    with pytest.raises(UsageError, match=r"gaps\.json has gaps in its vocabulary: 2 entries, but indices up to 7; renumber them"):
        read_tokenizer(tmp_path / "gaps.json")


@each_kind
@pytest.mark.parametrize("maximum_length", [5, 16, 500])
def test_pieces_are_full_framed_and_lose_nothing(kind: str, maximum_length: int) -> None:
    texts = [TEXTS[0], "", "wheat " * 40]
    whole = encode_texts(TOKENIZERS[kind], texts, 500)
    pieces = encode_pieces(TOKENIZERS[kind], texts, maximum_length)
    inside = np.split(pieces.tokens, pieces.offsets[1:-1])
    assert all((piece[0], piece[-1]) == (2, 3) for piece in inside)
    together = np.concatenate([piece[1:-1] for piece in inside])
    np.testing.assert_array_equal(together, whole.tokens[~np.isin(whole.tokens, [2, 3])])
    room = maximum_length - 2
    expected = [min(room, length - start) + 2 for length in whole.lengths - 2 for start in range(0, max(length, 1), room)]
    assert pieces.lengths.tolist() == expected
    assert len(pieces) == len(expected)


def test_a_book_is_split_to_its_end() -> None:
    words = [WORDS[(7 * step) % 5] for step in range(100_000)]
    assert encode_pieces(TOKENIZERS["wordpiece"], [" ".join(words)], 128).tokens[-2] == TOKENIZERS["wordpiece"].token_to_id(
        words[-1].lower()
    )


def test_all_of_a_book_trains_the_tokenizer() -> None:
    book = "wheat " * 50_000 + "barley " * 5
    assert train_tokenizer(TrainedTokenizer(vocabulary_size=60), [book]).token_to_id("barley") is not None


@each_kind
def test_the_vocabulary_tells_which_tokens_go_on_with_a_word(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    continues = continuing_tokens(tokenizer)
    assert not continues[[tokenizer.token_to_id(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]].any()
    if kind == "character":
        assert not continues.any()
        return
    encoding = tokenizer.encode("oilheat roses. oilrose")
    words = ["".join(tokenizer.id_to_token(index) for index in group) for group in _words(encoding.ids[1:-1], continues)]
    assert [word.replace("##", "").strip("▁Ġ") for word in words] == ["oilheat", "roses", ".", "oilrose"]


@pytest.mark.parametrize("kind", ["bpe", "unigram", "byte"])
@pytest.mark.parametrize(
    "words",
    [
        ["我", "喜", "欢", "学", "习", "语", "言", "。", "你", "呢"],
        ["Ärger", "—", "“naïve", "”"],
        ["день"],
        ["ひ", "と"],
        ["時", "々", "ｶ", "ﾅ"],
    ],
)
def test_scripts_without_spaces_and_signs_of_all_scripts_begin_words(kind: str, words: list[str]) -> None:
    """Wherever the tokenizer cuts the text: a piece begins a word where a word begins, and goes on with one elsewhere."""
    text = "".join(words)
    smallest = 261 if kind == "byte" else 5 + len(set(text)) + len("▁wheat")
    tokenizer = train_tokenizer(TrainedTokenizer(kind=kind, vocabulary_size=smallest + 4, lowercase=False), [text, "wheat"] * 3)  # type: ignore[arg-type]
    begins = {sum(map(len, words[:word])) for word in range(len(words))}
    continues = continuing_tokens(tokenizer)
    encoding = tokenizer.encode(text)
    last = 0
    for index, (start, _) in list(zip(encoding.ids, encoding.offsets, strict=True))[1:-1]:
        if start > 0:
            # Bytes of one character begin at the same place.
            assert continues[index] == (start not in begins or start == last), encoding.tokens
        last = start
    assert last > 0


@pytest.mark.parametrize("sign", ["▁", "Ġ"])
def test_an_entry_of_no_characters_goes_on_with_no_word(sign: str) -> None:
    vocabulary = {"[UNK]": 0, "": 1, f"{sign}wheat": 2, "s": 3}
    assert continuing_tokens(Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))).tolist() == [False, False, False, True]


def _words(indices: list[int], continues: np.ndarray) -> list[list[int]]:
    words: list[list[int]] = []
    for index in indices:
        if words and continues[index]:
            words[-1].append(index)
        else:
            words.append([index])
    return words
