"""The page of an explanation: the text, its words coloured by what they did, and where each looks."""

import base64
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from transformer.attention_map.explanation import Explanation
from transformer.attention_map.words import Word
from transformer.evaluation.report.document import header, json_block, page, summary
from transformer.evaluation.report.wording import count, listing, percent

HERE = Path(__file__).parent
MOST_WEIGHTS = 600_000
"""Weights that a page holds; four bytes each, it stays below 4 MB."""
PRECISION = 65_535
"""Weights are whole numbers of 1 / 65,535."""
MOST_LABELS = 8
MOST_CHARACTERS = 40
"""Characters of a word that a sentence holds."""

POOLING_NAMES = {
    "attention": "Bahdanau attention over the words",
    "final_state_attention": "Bahdanau attention over the words, asked by the last state",
}


def attention_map_page(explanation: Explanation, run_name: str, model: str) -> str:
    """The HTML of an explanation.

    Args:
        run_name: what the run is called.
        model: what its model is called.
    """
    body = [
        header("Attention map", run_name, model),
        summary("What was decided", decision_sentences(explanation, model)),
        _probabilities(explanation),
        _evidence(explanation),
        *(_pooling(explanation, name) for name in explanation.pooling),
        _looks(explanation),
    ]
    scripts = [(HERE / "attention_map.js").read_text(encoding="utf-8")]
    return page(
        f"Attention map: {run_name}", "\n".join(body), styles=[(HERE / "attention_map.css").read_text(encoding="utf-8")], scripts=scripts
    )


def decision_sentences(explanation: Explanation, model: str) -> list[str]:
    """The decision and what it rests on, in words that follow from the figures alone."""
    probabilities = explanation.probabilities
    order = np.argsort(-probabilities, kind="stable")
    sentences = [f"The label is “{explanation.labels[order[0]]}”, with probability {percent(float(probabilities[order[0]]))}."]
    if len(order) > 1:
        sentences.append(f"Next comes “{explanation.labels[order[1]]}”, with {percent(float(probabilities[order[1]]))}.")
    strongest = np.argsort(-explanation.evidence, kind="stable")[:3]
    told = [
        f"“{named(explanation, explanation.words[index])}” (without it {percent(float(explanation.without[index]))})"
        for index in strongest
        if explanation.evidence[index] > 0
    ]
    if told:
        sentences.append(f"What speaks for it most is {listing(told)}.")
    elif any(not word.special for word in explanation.words):
        sentences.append("No single word speaks for it: leaving one out makes the label no less likely.")
    if not explanation.words:
        sentences.append("The text has no tokens: the model read nothing of it.")
    elif explanation.self_attention is None and not explanation.pooling:
        sentences.append(f"This model ({model}) has no attention weights, so the page shows the evidence of each word and nothing else.")
    names = ("The text",) if len(explanation.texts) == 1 else ("The first text", "The second text")
    sentences += [f"{name} is too long: its grey end was not read." for name, cut in zip(names, explanation.cut, strict=True) if cut]
    return sentences


def shown(explanation: Explanation, word: Word) -> str:
    """A word as it stands in the text."""
    return word.special if word.part is None else explanation.texts[word.part][word.begin : word.stop] or "␣"


def named(explanation: Explanation, word: Word) -> str:
    """A word as a sentence names it: the beginning of one that is very long."""
    name = shown(explanation, word)
    return name if len(name) <= MOST_CHARACTERS else f"{name[:MOST_CHARACTERS]}…"


def _probabilities(explanation: Explanation) -> str:
    order = np.argsort(-explanation.probabilities, kind="stable")
    items = []
    for index in order[:MOST_LABELS]:
        share = float(explanation.probabilities[index])
        items.append(
            f'<li><span class="name" dir="auto">{escape(explanation.labels[index])}</span>'
            f'<span class="track"><span style="width:{100 * share:.2f}%"></span></span><span class="share">{percent(share)}</span></li>'
        )
    rest = explanation.probabilities[order[MOST_LABELS:]]
    if len(rest):
        share_told = percent(float(rest.sum()))
        items.append(f'<li><span class="name">{count(len(rest))} others</span><span></span><span class="share">{share_told}</span></li>')
    return f'<ol class="bars">{"".join(items)}</ol>'


def _evidence(explanation: Explanation) -> str:
    strongest = max(float(np.abs(explanation.evidence).max(initial=0.0)), 1e-9)
    styles = []
    for evidence in explanation.evidence:
        kind = "for" if evidence > 0 else "against"
        styles.append(f'class="word {kind}" style="--w:{abs(float(evidence)) / strongest:.3f}"')
    told = [
        "" if np.isnan(without) else f"{percent(float(without))} without it; evidence {evidence:+.2f}".replace("-", "−")
        for without, evidence in zip(explanation.without, explanation.evidence, strict=True)
    ]
    introduction = (
        "Each word is left out in turn, and the text is labelled again. A bar below a word: it speaks for the label; above: against it. "
        "Evidence is the change of the label's log odds."
    )
    return _told_panel(explanation, "evidence", "Which words the decision rests on", introduction, styles, told)


def _pooling(explanation: Explanation, name: str) -> str:
    weights = explanation.pooling[name]
    strongest = max(float(weights.max(initial=0.0)), 1e-9)
    styles = [f'class="word for" style="--w:{float(weight) / strongest:.3f}"' for weight in weights]
    told = [f"weight {percent(float(weight))}" for weight in weights]
    title = POOLING_NAMES.get(name, name)
    introduction = "The text's vector is the average of the words' states by these weights; together they are 100 %."
    return _told_panel(explanation, name, title, introduction, styles, told)


def _told_panel(explanation: Explanation, key: str, title: str, introduction: str, attributes: list[str], told: list[str]) -> str:
    """The text, each word of which has something to tell when it is pointed at."""
    sentences = [note and f"“{named(explanation, word)}”: {note}" for word, note in zip(explanation.words, told, strict=True)]
    return (
        f"<section><h2>{escape(title)}</h2><p>{escape(introduction)}</p>"
        f'<div class="panel" id="{key}-panel" data-told="{key}-data">{_text(explanation, attributes)}'
        f"<output>Point at a word, or move with the arrow keys.</output></div>{json_block(f'{key}-data', sentences)}</section>"
    )


def _looks(explanation: Explanation) -> str:
    if explanation.self_attention is None:
        return ""
    maps, choices = [], []
    layers, heads = explanation.self_attention.shape[:2]
    if explanation.rollout is not None:
        maps.append(explanation.rollout)
        choices.append(("all layers: attention rollout", [""]))
    for layer in range(layers):
        shown_heads = [*([explanation.self_attention[layer].mean(axis=0)] if heads > 1 else []), *explanation.self_attention[layer]]
        maps += shown_heads
        choices.append(
            (f"layer {layer + 1}", [*(["mean of the heads"] if heads > 1 else []), *(f"head {head + 1}" for head in range(heads))])
        )
    packed = pack(np.stack(maps))
    left_out = f" Of each word, the {count(packed['kept'])} largest weights are kept." if packed["kept"] < len(explanation.words) else ""
    data = packed | {"choices": choices, "words": [named(explanation, word) for word in explanation.words]}
    text = _text(explanation, ['class="word"'] * len(explanation.words))
    return (
        "<section><h2>Where each word looks</h2>"
        "<p>Point at a word, or move to it with the arrow keys: the others show how much of their value it takes. A click holds a word. "
        f"While none is chosen, each word shows how much it is looked at on average.{left_out}</p>"
        '<div class="panel" id="looks"><div class="choices"><label>Layer <select id="layer"></select></label>'
        f'<label>Head <select id="head"></select></label></div>{text}<output></output><ol class="bars" id="looked-at"></ol></div>'
        f"{json_block('looks-data', data)}</section>"
    )


def pack(maps: Float[np.ndarray, "maps words words"]) -> dict[str, Any]:
    """Weights for the page: of each word the largest, as whole numbers of 1 / 65,535, and where they are.

    Returns: `keys` and `weights`, base64 of little-endian 16-bit numbers [maps, words, kept]; `kept`; `received`, how much each word of
    each map is looked at on average, in the same unit.
    """
    number, length, _ = maps.shape
    kept = max(1, min(length, MOST_WEIGHTS // max(number * length, 1)))
    keys = np.argpartition(-maps, kept - 1, axis=-1)[..., :kept] if length else np.zeros(maps.shape, np.int64)
    weights = np.rint(np.take_along_axis(maps, keys, axis=-1) * PRECISION)
    return {
        "kept": kept,
        "keys": base64.b64encode(keys.astype("<u2").tobytes()).decode(),
        "weights": base64.b64encode(np.clip(weights, 0, PRECISION).astype("<u2").tobytes()).decode(),
        "received": np.rint(maps.mean(axis=1) * PRECISION).astype(int).tolist(),
    }


def _text(explanation: Explanation, attributes: list[str]) -> str:
    """The texts with every word an element of its own; what was not read, because a text is too long, is told apart."""
    paragraphs = []
    numbered = list(enumerate(explanation.words))
    for part, text in enumerate(explanation.texts):
        at, inside = 0, []
        for index, word in numbered:
            if word.part is None:
                # A special token stands where it does in the tokens: in the first text, or after the last word of the second.
                belongs = sum(other.part == 1 for _, other in numbered[:index]) > 0
                if belongs == (part == 1):
                    inside.append(
                        f'<span {attributes[index].replace("word", "word special", 1)} data-index="{index}">{escape(word.special)}</span> '
                    )
            elif word.part == part:
                inside.append(escape(text[at : word.begin]))
                inside.append(f'<span {attributes[index]} data-index="{index}">{escape(shown(explanation, word))}</span>')
                at = max(at, word.stop)
        rest = escape(text[at : at + 2000])
        inside.append(f'<span class="unread">{rest}</span>' if explanation.cut[part] else rest)
        paragraphs.append(f'<p class="text" dir="auto">{"".join(inside)}</p>')
    return f'<div class="texts" role="group" aria-label="the text, word by word">{"".join(paragraphs)}</div>'
