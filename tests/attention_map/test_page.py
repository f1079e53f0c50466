"""What a reader of an attention map is told of the text."""

import re

import numpy as np

from transformer.attention_map.explanation import Explanation
from transformer.attention_map.page import attention_map_page
from transformer.attention_map.words import Word

NOT_READ = "is too long: its grey end was not read."


def page(texts, cut):
    """The page of texts whose first word alone was read."""
    words = [Word(part, part + 1, part, 0, len(text.split()[0])) for part, text in enumerate(texts)]
    number = len(words)
    return attention_map_page(
        Explanation(
            texts=texts,
            cut=cut,
            words=words,
            labels=["calm", "stormy"],
            probabilities=np.array([0.9, 0.1]),
            without=np.full(number, 0.5),
            evidence=np.ones(number),
            self_attention=None,
            rollout=None,
            pooling={},
        ),
        "run",
        "lstm",
    )


def unread(written):
    return re.findall(r'<span class="unread">(.*?)</span>', written)


def test_what_was_not_read_is_grey_and_a_line_says_so():
    written = page(("wheat exports rose",), (True,))
    assert unread(written) == [" exports rose"]
    assert f"The text {NOT_READ}" in written


def test_a_rest_without_a_token_was_not_left_unread():
    written = page(("wheat\u200b",), (False,))
    assert unread(written) == []
    assert NOT_READ not in written


def test_of_a_pair_the_text_that_was_cut_is_named():
    written = page(("wheat\u200b", "oil fell"), (False, True))
    assert unread(written) == [" fell"]
    assert f"The second text {NOT_READ}" in written
    assert "The first text" not in written


def test_what_was_not_read_is_legible_on_both_grounds():
    written = page(("wheat exports",), (True,))
    assert re.findall(r"\.unread \{([^}]*)\}", written) == [" color: var(--soft); "]
    for panel, soft in zip(*(re.findall(rf"--{name}: (#\w{{6}})", written) for name in ("panel", "soft")), strict=True):
        lighter, darker = sorted((luminance(panel), luminance(soft)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def luminance(colour):
    """Relative luminance (WCAG 2.2)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return np.dot([0.2126, 0.7152, 0.0722], linear)
