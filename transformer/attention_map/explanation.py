"""What a run predicts for one text, where it looked, and which words the decision rests on."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, Int

from transformer.attention_map.words import Word, cut_texts, encode_text, membership, text_words
from transformer.data.sources import Text
from transformer.data.tokenization import Split, encode_texts
from transformer.model.inspection import capture_attention
from transformer.training.run import Run

SMALLEST = 1e-30
"""A probability below this counts as this, so that its logarithm is finite."""


@dataclass(frozen=True)
class Explanation:
    """A prediction and what led to it, word by word."""

    texts: tuple[str, ...]
    """The text, or the two of a pair."""
    cut: tuple[bool, ...]
    """Which of the texts are longer than what was read of them."""
    words: list[Word]
    labels: list[str]
    probabilities: Float[np.ndarray, " classes"]
    without: Float[np.ndarray, " words"]
    """The probability of the predicted class once the word is left out; nan for a special token, which stays."""
    evidence: Float[np.ndarray, " words"]
    """The word's weight of evidence for the predicted class; 0 for a special token."""
    self_attention: Float[np.ndarray, "layers heads words words"] | None
    """How much each word (third axis) looks at each (last axis), where the model has such weights."""
    rollout: Float[np.ndarray, "words words"] | None
    """How much of each word's last state comes from each word of the text; Transformers only."""
    pooling: dict[str, Float[np.ndarray, " words"]]
    """The weight of each word in the pooling of that name (additive attention), where the model has one."""


def explain(run: Run, text: Text) -> Explanation:
    """Label a text and tell why.

    Tokens are put together as words: the weights from a word are the mean over its tokens, those to a word the sum (Clark et al. 2019,
    section 4.1), so that every word's weights sum to 1.

    Raises UsageError for an ensemble.
    """
    run.require_one_model("an attention map shows")
    encoding = encode_text(run.tokenizer, text, run.config.data.maximum_length)
    texts = (text,) if isinstance(text, str) else text
    words = text_words(encoding, texts)
    split = encode_texts(run.tokenizer, [text], run.config.data.maximum_length)
    tokens, pair_start = split.tokens, None if split.pair_starts is None else int(split.pair_starts[0])
    probabilities = _with_each_word_left_out(run, tokens, words, pair_start)
    evidence = weight_of_evidence(probabilities)
    fixed = np.array([bool(word.special) for word in words], bool)
    captured = _captured(run, tokens, pair_start) if len(tokens) else {}
    belongs = membership(words)
    weights = captured.pop("self_attention", None)
    return Explanation(
        texts=texts,
        cut=cut_texts(run.tokenizer, encoding, texts, run.config.data.maximum_length),
        words=words,
        labels=run.labels,
        probabilities=probabilities[0],
        without=np.where(fixed, np.nan, probabilities[1:, probabilities[0].argmax()]),
        evidence=np.where(fixed, 0.0, evidence),
        self_attention=None if weights is None else by_word(weights[:, 0], belongs),
        rollout=None if weights is None or run.config.model.kind != "transformer" else by_word(attention_rollout(weights[:, 0]), belongs),
        pooling={name: values[0] @ belongs for name, values in captured.items()},
    )


def weight_of_evidence(probabilities: Float[np.ndarray, "texts classes"]) -> Float[np.ndarray, " words"]:
    """How much each word speaks for the predicted class: by how much the log odds of that class fall, in nats, when the word is left out.

    Above 0 a word speaks for the decision, below 0 against it. Leaving out is defined for every model alike, and looks at the decision
    and not at the weights on the way to it (Robnik-Šikonja and Kononenko 2008, equation 6; erasure, Li et al. 2016).

    Args:
        probabilities: of the whole text in the first row, of the text without its i-th word in row i + 1.
    """
    exact = np.asarray(probabilities, np.float64)
    predicted = exact[0].argmax()
    # 1 - p would lose the digits of a p near 1; the other classes' probabilities have them.
    others = np.delete(exact, predicted, axis=1).sum(axis=1)
    log_odds = np.log(np.maximum(exact[:, predicted], SMALLEST)) - np.log(np.maximum(others, SMALLEST))
    return log_odds[0] - log_odds[1:]


def attention_rollout(weights: Float[np.ndarray, "layers heads length length"]) -> Float[np.ndarray, "length length"]:
    """How much of each last state comes from each token: the layers' weights multiplied (Abnar and Zuidema 2020, section 3).

    The heads' mean stands for a layer; the residual connection, which keeps half of each state, adds the identity: A = W / 2 + I / 2.
    """
    identity = np.eye(weights.shape[-1])
    rollout = identity
    for layer in weights:
        rollout = (layer.mean(axis=0) + identity) / 2 @ rollout
    return rollout


def by_word(
    weights: Float[np.ndarray, "*stack length length"], belongs: Float[np.ndarray, "length words"]
) -> Float[np.ndarray, "*stack words words"]:
    """Weights between words from those between tokens: summed over the tokens that are looked at, averaged over those that look."""
    return (belongs / belongs.sum(axis=0)).T @ (weights @ belongs)


def _with_each_word_left_out(
    run: Run, tokens: Int[np.ndarray, " length"], words: list[Word], pair_start: int | None
) -> Float[np.ndarray, "texts classes"]:
    """Class probabilities of the text, and of the text without each of its words; special tokens stay."""
    kept = [np.ones(len(tokens), bool)]
    for word in words:
        here = np.ones(len(tokens), bool)
        here[word.first : word.end] = bool(word.special)
        kept.append(here)
    lengths = [int(here.sum()) for here in kept]
    split = Split(
        tokens=np.concatenate([tokens[here] for here in kept]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=np.zeros(len(kept), np.int32),
        pair_starts=None if pair_start is None else np.array([here[:pair_start].sum() for here in kept], np.int32),
    )
    return run.predictor(split.lengths)(run.parameters, split)


def _captured(run: Run, tokens: Int[np.ndarray, " length"], pair_start: int | None) -> dict[str, np.ndarray]:
    positions = np.arange(len(tokens), dtype=np.int32)[None]
    types = None if pair_start is None else (positions >= pair_start).astype(np.int32)

    @jax.jit
    def capture(parameters: Any, *inputs: Any) -> dict[str, jax.Array]:
        classifier: Any = nnx.merge(run.graph, parameters)
        return capture_attention(classifier, *inputs)

    captured = capture(run.parameters, tokens[None], np.ones_like(positions), positions, types)
    return {name: np.asarray(values) for name, values in captured.items()}
