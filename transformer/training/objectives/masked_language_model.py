"""Predict masked tokens from the text around them."""

import math
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key
from tokenizers import Tokenizer

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.data.batching import Shapes, TrainingBatches
from transformer.data.dataset import Dataset
from transformer.data.packing import PackedBatches
from transformer.data.tokenization import SpecialTokens, Split
from transformer.data.word_borders import continuing_tokens
from transformer.model.dropout import random_bits
from transformer.training.devices import split_rows
from transformer.training.objective import DeviceBatch, Objective, Parameters, Scores, empty_inputs, model_inputs
from transformer.training.prediction import fetched

UNIT = 2**24
"""Random numbers from 0 to below 1 are multiples of its reciprocal: float32 holds these exactly."""


LARGEST_EXPONENT = 700.0
"""A larger one has no exponential in 64 bits."""


def uniform(shape: tuple[int, ...], key: Key[Array, ""]) -> Float[Array, "..."]:
    """Random numbers from 0 to below 1."""
    return (random_bits(shape, key) >> 8).astype(jnp.float32) / UNIT


def word_places(starts: Bool[Array, "batch length"]) -> tuple[Int[Array, "batch length"], Int[Array, "batch length"]]:
    """For each token, the column where its word starts, and the column after its word's end.

    Args:
        starts: where a word starts; the first column starts one, whatever this says.
    """
    columns = jax.lax.broadcasted_iota(jnp.int32, starts.shape, 1)
    begin = jax.lax.cummax(jnp.where(starts, columns, 0), axis=1)
    next_start = jnp.where(starts, columns, starts.shape[1])[:, 1:]
    end = jax.lax.cummin(jnp.pad(next_start, ((0, 0), (0, 1)), constant_values=starts.shape[1]), axis=1, reverse=True)
    return begin, end


def choose_tokens(
    eligible: Bool[Array, "batch length"], starts: Bool[Array, "batch length"], rate: float, key: Key[Array, ""]
) -> tuple[Int[Array, "batch masked"], Bool[Array, "batch masked"]]:
    """In each row, the columns of round(rate x eligible) tokens drawn without replacement, one at least (as BERT's own code has it), and
    which of these places are used.

    Words are drawn, one after the other, until the next does not fit into this number: of words of one token each, exactly so many; of
    longer ones, a few tokens fewer, and long words are a little rarer among them. A word longer than this number, as in text without
    spaces, is drawn token by token.

    Args:
        eligible: what may be chosen; in a word all or nothing.
        starts: where a word starts.
    """
    length = eligible.shape[1]
    count = eligible.sum(axis=1, keepdims=True)
    budget = jnp.where(count > 0, jnp.maximum(jnp.round(rate * count), 1), 0)
    begin, end = word_places(starts)
    begin, end = word_places(starts | (end - begin > budget))
    scores = jnp.take_along_axis(uniform(eligible.shape, key), begin, axis=1)
    # Of equal scores `top_k` takes the left one first, so that a word's tokens follow each other in their order.
    _, selected = jax.lax.top_k(jnp.where(eligible, scores, -1.0), math.ceil(rate * length))
    tokens_left = jnp.take_along_axis(end, selected, axis=1) - selected
    last = jax.lax.broadcasted_iota(jnp.int32, selected.shape, 1) + tokens_left
    return selected, last <= budget


def replace_tokens(
    tokens: Int[Array, "batch masked"], kind: str, mask: int, ordinary: Int[Array, " ordinary"], key: Key[Array, ""]
) -> Int[Array, "batch masked"]:
    """What stands in place of chosen tokens.

    Of kind `mask`: [MASK]. Of kind `bert`: 80 % [MASK], 10 % a random token out of `ordinary`, 10 % the token itself (Devlin et al. 2019,
    section 3.1).
    """
    if kind == "mask":
        return jnp.full_like(tokens, mask)
    which_key, random_key = jax.random.split(key)
    which = uniform(tokens.shape, which_key)
    random = ordinary[random_bits(tokens.shape, random_key) % len(ordinary)]
    return jnp.where(which < 0.8, mask, jnp.where(which < 0.9, random, tokens))


class Masking:
    """Draws which tokens are to be predicted, and what stands for them."""

    def __init__(self, settings: schema.MaskedLanguageModel, tokenizer: Tokenizer, special: SpecialTokens) -> None:
        """Read what the vocabulary tells of its tokens."""
        self._settings, self._mask = settings, special.mask
        size = tokenizer.get_vocab_size()
        self.ordinary = ~np.isin(np.arange(size), special_indices(special, tokenizer))
        """[vocabulary] bool: tokens that are not special, which alone are masked, and of which random ones are drawn."""
        self._continues = continuing_tokens(tokenizer) if settings.whole_words else np.zeros(size, bool)

    def __call__(
        self, tokens: Int[Array, "batch length"], segments: Int[Array, "batch length"], key: Key[Array, ""]
    ) -> tuple[Int[Array, "batch length"], Int[Array, "batch masked"], Int[Array, "batch masked"], Float[Array, "batch masked"]]:
        """The tokens with gaps; the columns of the gaps; what stood there; and 1 for each that counts, 0 for places that are not used."""
        choice_key, replacement_key = jax.random.split(key)
        eligible = jnp.asarray(self.ordinary)[tokens] & (segments != 0)
        # A word does not go on from a special token, nor from another text, which a special token may not end.
        goes_on = jnp.asarray(self._continues)[tokens[:, 1:]] & eligible[:, :-1] & eligible[:, 1:] & (segments[:, 1:] == segments[:, :-1])
        starts = ~jnp.pad(goes_on, ((0, 0), (1, 0)))
        selected, used = choose_tokens(eligible, starts, self._settings.masking_rate, choice_key)
        targets = jnp.take_along_axis(tokens, selected, axis=1)
        ordinary = jnp.asarray(np.flatnonzero(self.ordinary), tokens.dtype)
        gaps = replace_tokens(targets, self._settings.replacement, self._mask, ordinary, replacement_key)
        gapped = jax.vmap(_put)(tokens, selected, jnp.where(used, gaps, targets))
        return gapped, selected, targets, used.astype(jnp.float32)


def _put(row: Int[Array, " length"], columns: Int[Array, " masked"], values: Int[Array, " masked"]) -> Int[Array, " length"]:
    # Row by row under `vmap`, since of `put_along_axis` XLA does not see that the rows are apart, and gathers them from all devices.
    return row.at[columns].set(values)


def special_indices(special: SpecialTokens, tokenizer: Tokenizer) -> list[int]:
    """Indices of all special tokens, those without a use here included; what is unknown cannot be predicted either."""
    others = [index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    return [special.padding, special.unknown, special.first, special.separator, special.mask, *others]


class MaskedLanguageModelObjective(Objective):
    """Cross-entropy over the masked tokens."""

    def __init__(self, settings: schema.MaskedLanguageModel, dataset: Dataset) -> None:
        """Count what may be masked. Raises UsageError where a split has nothing."""
        self._settings = settings
        self._masking = Masking(settings, dataset.tokenizer, dataset.special)
        ordinary = {name: self._masking.ordinary[split.tokens] for name, split in dataset.splits.items()}
        for name, tokens in ordinary.items():
            if not tokens.any():
                raise UsageError(
                    f"no token of the {name} texts could be masked: all are special or unknown; take other texts (data.source), or a "
                    "tokenizer that knows their characters (tokenizer.kind=byte)"
                )
        self._eligible = int(np.count_nonzero(ordinary["train"]))

    def batches(self, config: schema.Config, dataset: Dataset) -> TrainingBatches:
        """Full rows of several texts each."""
        return PackedBatches(dataset.train, dataset.special, config.batching, config.data.maximum_length, config.seed)

    def mean_weight(self, batches: TrainingBatches) -> float:
        """Masked tokens a batch, but for rounding in each row, and for what is left over where whole words are masked."""
        return max(self._settings.masking_rate * self._eligible / batches.steps_per_epoch, 1.0)

    def loss(self, model: nnx.Module, batch: DeviceBatch, key: Key[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Cross-entropy in nats summed over the masked tokens, and how many these are."""
        mask_key, dropout_key = jax.random.split(key)
        losses, _, weights = self.predict(model, batch, mask_key, dropout_key)
        return jnp.sum(losses * weights), jnp.sum(weights)

    def predict(
        self, model: nnx.Module, batch: DeviceBatch, mask_key: Key[Array, ""], dropout_key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, "batch masked"], Bool[Array, "batch masked"], Float[Array, "batch masked"]]:
        """Of each place: its cross-entropy, whether the likeliest token is the right one, and 1 if it counts."""
        tokens, selected, targets, weights = self._masking(batch["tokens"], batch["segments"], mask_key)
        language_model: Any = model
        logits = language_model(**{**model_inputs(batch), "tokens": tokens}, selected=selected, key=dropout_key)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets)
        # Many times faster on CPUs than `argmax`.
        right = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0] >= logits.max(axis=-1)
        return losses, right, weights

    def evaluator(
        self, config: schema.Config, dataset: Dataset, shapes: Shapes, graph: nnx.GraphDef[nnx.Module], mesh: Mesh
    ) -> "MaskedLanguageModelEvaluator":
        """Predict masked tokens, always the same ones."""
        return MaskedLanguageModelEvaluator(self, config, dataset.special, shapes, graph, mesh)


class MaskedLanguageModelEvaluator:
    """How well masked tokens of a split are predicted; which ones follows from the batch's index, so that figures can be compared."""

    def __init__(
        self,
        objective: MaskedLanguageModelObjective,
        config: schema.Config,
        special: SpecialTokens,
        shapes: Shapes,
        graph: nnx.GraphDef[nnx.Module],
        mesh: Mesh,
    ) -> None:
        def measure(parameters: Parameters, batch: DeviceBatch, index: Int[Array, ""]) -> Float[Array, " figures"]:
            losses, right, weights = objective.predict(nnx.merge(graph, parameters), batch, jax.random.fold_in(jax.random.key(0), index))
            return jnp.stack([jnp.sum(losses * weights), jnp.sum(right * weights), jnp.sum(weights)])

        self._measure, self._is_compiled = jax.jit(measure), False
        self._config, self._special, self._shapes, self._mesh = config, special, shapes, mesh

    def compile(self, parameters: Parameters, splits: Collection[Split]) -> None:
        """Compile for the one shape that batches have."""
        if self._is_compiled or not splits:
            return
        self._is_compiled = True
        with jax.set_mesh(self._mesh):
            for rows, length in self._shapes:
                self._measure(parameters, split_rows(empty_inputs(rows, length, pairs=False), self._mesh), np.int32(0))

    def __call__(self, parameters: Parameters, split: Split) -> Scores:
        """`loss` in nats a masked token, `perplexity` (its exponential), and `accuracy`: the share of masked tokens that were guessed."""
        batches = PackedBatches(split, self._special, self._config.batching, self._config.data.maximum_length, seed=0)
        with jax.set_mesh(self._mesh):
            dispatched = (
                self._measure(parameters, split_rows(batch, self._mesh), np.int32(index))
                for index, batch in enumerate(batches.iterate(0, batches.steps_per_epoch))
            )
            loss, right, masked = np.sum([figures.astype(np.float64) for figures in fetched(dispatched)], axis=0).tolist()
        mean = loss / masked
        return {"loss": mean, "perplexity": math.exp(min(mean, LARGEST_EXPONENT)), "accuracy": right / masked}
