"""The Transformer's encoder."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from transformer.config import schema
from transformer.model.attention import segment_mask, window_mask
from transformer.model.dropout import dropout
from transformer.model.embedding import Embedding
from transformer.model.feed_forward import FeedForward
from transformer.model.linear import add_low_rank
from transformer.model.multi_head_attention import MultiHeadAttention
from transformer.model.normalization import make_norm


class EncoderLayer(nnx.Module):
    """Self-attention and a feed-forward network, each with a residual connection, dropout on its output, and a norm.

    Post-norm: x = norm(x + sublayer(x)) (Vaswani et al. 2017, section 3.1). Pre-norm: x = x + sublayer(norm(x)) (Xiong et al. 2020); where
    the embeddings are normalized, the first layer's attention takes them as they are (ModernBERT, Warner et al. 2024, section 2.1.1).
    """

    def __init__(self, config: schema.Transformer, *, index: int, rngs: nnx.Rngs) -> None:
        """Make `attention` and `feed_forward`, and the norm that belongs to each, for the layer with this index, counted from 0."""
        self.local = config.local_window is not None and (config.global_every is None or index % config.global_every != 0)
        rotary_base = config.local_rotary_base if self.local and config.local_rotary_base is not None else config.rotary_base
        self.attention = MultiHeadAttention(
            config.width,
            config.heads,
            dropout_rate=config.attention_dropout,
            rotary_base=rotary_base if config.positions == "rotary" else None,
            bias=config.bias,
            dtype=config.precision,
            rngs=rngs,
        )
        self.feed_forward = FeedForward(
            config.width, config.feed_forward, config.activation, bias=config.bias, dtype=config.precision, rngs=rngs
        )
        is_normalized = index == 0 and config.embedding_norm and config.norm_position == "pre"
        self.attention_norm = None if is_normalized else make_norm(config, bias=config.bias)
        self.feed_forward_norm = make_norm(config, bias=config.bias)
        self.dropout_rate = config.dropout
        self.norm_position = config.norm_position

    def __call__(
        self,
        x: Float[Array, "batch length width"],
        mask: Bool[Array, "batch length length"],
        positions: Int[Array, "batch length"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch length width"]:
        """One layer. With a `key`, weights and sublayer outputs drop out."""
        weights_key, attention_key, feed_forward_key = (None, None, None) if key is None else (jax.random.fold_in(key, i) for i in range(3))
        attended = self.attention(self._attention_inputs(x), mask, positions, key=weights_key)
        x = x + dropout(attended, self.dropout_rate, attention_key)
        if self.norm_position == "pre":
            return x + dropout(self.feed_forward(self.feed_forward_norm(x)), self.dropout_rate, feed_forward_key)
        x = x if self.attention_norm is None else self.attention_norm(x)
        return self.feed_forward_norm(x + dropout(self.feed_forward(x), self.dropout_rate, feed_forward_key))

    def attention_weights(
        self, x: Float[Array, "batch length width"], mask: Bool[Array, "batch length length"], positions: Int[Array, "batch length"]
    ) -> Float[Array, "batch heads length length"]:
        """The weights of this layer's attention at these inputs."""
        return self.attention.weights(self._attention_inputs(x), mask, positions)

    def _attention_inputs(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch length width"]:
        return self.attention_norm(x) if self.norm_position == "pre" and self.attention_norm is not None else x


class Encoder(nnx.Module):
    """Embeddings and a stack of layers (Vaswani et al. 2017, section 3.1; BERT, Devlin et al. 2019).

    A pre-norm stack ends with a norm, since nothing else bounds its states (Xiong et al. 2020). Where attention is local, a token of a
    layer sees its text up to `local_window` tokens away; with `global_every`, every so many layers, the first included, see all of it.
    Layers that are scanned are one layer whose parameters have a leading axis `layers`.
    """

    def __init__(self, config: schema.Transformer, *, vocabulary_size: int, maximum_length: int, pairs: bool, rngs: nnx.Rngs) -> None:
        """Make all parameters.

        Args:
            maximum_length: longest text in tokens; the number of learned positions where the config does not say another.
            pairs: whether texts are pairs; `types` then tell the two apart where the config does not say otherwise.
        """
        self.embedding = Embedding(
            vocabulary_size,
            config.width,
            maximum_positions=maximum_length if config.maximum_positions is None else config.maximum_positions,
            positions=config.positions,
            types=(2 if pairs else 0) if config.token_types is None else config.token_types,
            norm_follows=config.embedding_norm,
            rngs=rngs,
        )
        self.embedding_norm = make_norm(config, bias=config.bias) if config.embedding_norm else None
        layers = [EncoderLayer(config, index=index, rngs=rngs) for index in range(config.layers)]
        if config.low_rank is not None:
            for layer in layers:
                add_low_rank(layer, config.low_rank, rngs=rngs)
        self.layers = _stack(layers) if config.scan_layers else nnx.List(layers)
        self.final_norm = make_norm(config, bias=config.bias) if config.norm_position == "pre" else None
        self.local_window = config.local_window
        self.dropout_rate = config.dropout
        self.rematerialize = config.rematerialize
        self.output_width = config.width
        self.reverse_width = 0

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch length width"]:
        """The state of each token, which depends on the tokens of its own segment only. Padding (segment 0) gets finite states

        Args:
            positions: of each token in its text, from 0.
            key: decides what drops out; None for no dropout.
        """
        embedding_key, layers_key = (None, None) if key is None else (jax.random.fold_in(key, i) for i in range(2))
        x = dropout(self._embed(tokens, positions, types), self.dropout_rate, embedding_key)
        everything, nearby = self._masks(segments, positions)

        def apply(definition: nnx.GraphDef[EncoderLayer], state: nnx.State[Any, Any], x: Array, index: int | Array) -> Array:
            layer_key = None if layers_key is None else jax.random.fold_in(layers_key, index)
            layer = nnx.merge(definition, state)
            return layer(x, nearby if layer.local else everything, positions, key=layer_key)

        if self.rematerialize:
            # JAX traces it once for all arguments of the same shapes: what sets a layer apart, such as `local`, has to be one of them.
            apply = jax.checkpoint(apply, static_argnums=0)
        if isinstance(self.layers, EncoderLayer):
            definition, stacked = nnx.split(self.layers)
            indices = jnp.arange(jax.tree.leaves(stacked)[0].shape[0])
            x, _ = jax.lax.scan(lambda x, layer: (apply(definition, layer[0], x, layer[1]), None), x, (stacked, indices))
        else:
            for index, layer in enumerate(self.layers):
                definition, state = nnx.split(layer)
                x = apply(definition, state, x, index)
        return x if self.final_norm is None else self.final_norm(x)

    def attention_weights(
        self,
        tokens: Int[Array, "batch length"],
        segments: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
    ) -> Float[Array, "layers batch heads length length"]:
        """The weights of every layer's attention: how much each token (fourth axis) looks at each (last axis)."""
        x = self._embed(tokens, positions, types)
        everything, nearby = self._masks(segments, positions)
        weights = []
        for layer in _unstack(self.layers) if isinstance(self.layers, EncoderLayer) else self.layers:
            mask = nearby if layer.local else everything
            weights.append(layer.attention_weights(x, mask, positions))
            x = layer(x, mask, positions)
        return jnp.stack(weights)

    def _embed(
        self, tokens: Int[Array, "batch length"], positions: Int[Array, "batch length"], types: Int[Array, "batch length"] | None
    ) -> Float[Array, "batch length width"]:
        x = self.embedding(tokens, positions, types)
        return x if self.embedding_norm is None else self.embedding_norm(x)

    def _masks(
        self, segments: Int[Array, "batch length"], positions: Int[Array, "batch length"]
    ) -> tuple[Bool[Array, "batch length length"], Bool[Array, "batch length length"]]:
        """What a token sees in a global layer, and in a local one."""
        everything = segment_mask(segments, segments)
        return everything, everything if self.local_window is None else everything & window_mask(positions, self.local_window)


def _stack(layers: list[EncoderLayer]) -> EncoderLayer:
    states = [nnx.state(layer) for layer in layers]
    stacked: EncoderLayer = nnx.merge(nnx.graphdef(layers[0]), jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
    return stacked


def _unstack(stacked: EncoderLayer) -> list[EncoderLayer]:
    definition, state = nnx.split(stacked)
    layers = jax.tree.leaves(state)[0].shape[0]
    return [nnx.merge(definition, jax.tree.map(lambda leaf, index=index: leaf[index], state)) for index in range(layers)]
