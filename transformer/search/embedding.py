"""Texts as unit vectors, by the encoder of any source of weights."""

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Float, Int
from tokenizers import Tokenizer

from transformer.config.schema import Batching
from transformer.data.batching import EvaluationBatches, Shapes
from transformer.data.cache import content_key
from transformer.data.sources import Text
from transformer.data.tokenization import encode_texts, special_tokens
from transformer.model.sentence_embedder import SentenceEmbedder
from transformer.training.objective import DeviceBatch, Parameters, empty_inputs
from transformer.training.prediction import over_examples

SMALLEST_LENGTH = 8


@runtime_checkable
class Embedder(Protocol):
    """Makes a vector of length 1 of each text."""

    width: int

    @property
    def identity(self) -> str:
        """A hash of everything that the vectors depend on."""

    def __call__(self, texts: Sequence[Text]) -> Float[np.ndarray, "texts width"]:
        """The vector of each text, which depends on no other text."""


class EncoderEmbedder:
    """Makes unit vectors of texts: the encoder, the mean over a text's tokens, length 1. Compiles once for each shape of batch.

    The shapes depend on nothing but the settings, so that a vector that is computed anew comes from the same programs.
    """

    def __init__(
        self,
        graph: nnx.GraphDef[nnx.Module],
        parameters: Parameters,
        tokenizer: Tokenizer,
        *,
        settings: Any,
        batching: Batching,
        maximum_length: int,
        mesh: Mesh,
    ) -> None:
        """Take a model that has an `encoder`.

        Args:
            settings: what the vectors depend on besides parameters, tokenizer and length, as a JSON value.
            maximum_length: longest text in tokens; longer ones are cut.
        """

        def embed(parameters: Parameters, batch: DeviceBatch) -> Float[jax.Array, "batch width"]:
            model: Any = nnx.merge(graph, parameters)
            return SentenceEmbedder(model.encoder)(**batch)

        self._embed = jax.jit(embed)
        self._graph, self._parameters = graph, parameters
        self._tokenizer, self._special = tokenizer, special_tokens(tokenizer)
        self._batching, self._maximum_length, self._mesh = batching, maximum_length, mesh
        self._settings = settings
        nothing = empty_inputs(batching.row_multiple, SMALLEST_LENGTH, pairs=False)
        self.width = int(jax.eval_shape(embed, parameters, nothing).shape[1])

    @property
    def identity(self) -> str:
        """A hash of everything that the vectors depend on."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(self._parameters):
            digest.update(np.ascontiguousarray(leaf).data)
        return content_key([digest.hexdigest(), self._settings, self._tokenizer.to_str(), self._maximum_length])

    def __call__(self, texts: Sequence[Text]) -> Float[np.ndarray, "texts width"]:
        """The vector of each text. It depends on no other text, within float tolerance."""
        if not texts:
            return np.zeros((0, self.width), np.float32)
        split = encode_texts(self._tokenizer, texts, self._maximum_length)
        batches = EvaluationBatches(split, self._special, self._shapes(split.lengths), self._mesh.size)
        return over_examples(lambda batch: self._embed(self._parameters, batch), batches, self._mesh)

    def _shapes(self, lengths: Int[np.ndarray, " texts"]) -> Shapes:
        """Shapes of 8, 12, 16, 24, 32, 48, ... tokens, up to the first that holds all texts; for a few texts with few rows."""
        multiple, shapes = self._batching.row_multiple, []
        for length in _lengths(self._maximum_length):
            rows = max(self._batching.tokens // length // multiple, 1) * multiple
            shapes.append((multiple if len(lengths) <= multiple else rows, length))
            if length >= max(lengths, default=0):
                break
        return tuple(shapes)


def _lengths(maximum: int) -> list[int]:
    steps = (SMALLEST_LENGTH * 2**power * part // 2 for power in itertools.count() for part in (2, 3))
    return [*itertools.takewhile(lambda length: length < maximum, steps), maximum]
