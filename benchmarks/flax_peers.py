"""Flax's own parts, put together as its documentation does: what a JAX user gets without this project."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.work import CLASSES, LEARNING_RATE, WEIGHT_DECAY, Competitor, load_batches

Optimizer = nnx.Optimizer["TransformerClassifier"]


class EncoderLayer(nnx.Module):
    """A post-norm layer (Vaswani et al. 2017) from `nnx.MultiHeadAttention`, `nnx.Linear` and `nnx.LayerNorm`."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float, rngs: nnx.Rngs):
        self.attention = nnx.MultiHeadAttention(heads, width, dropout_rate=dropout, deterministic=False, decode=False, rngs=rngs)
        self.attention_norm = nnx.LayerNorm(width, rngs=rngs)
        self.inner = nnx.Linear(width, feed_forward, rngs=rngs)
        self.outer = nnx.Linear(feed_forward, width, rngs=rngs)
        self.feed_forward_norm = nnx.LayerNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, deterministic=False, rngs=rngs)

    def __call__(self, states: jax.Array, mask: jax.Array) -> jax.Array:
        states = self.attention_norm(states + self.dropout(self.attention(states, mask=mask[:, None, None, :])))
        return self.feed_forward_norm(states + self.dropout(self.outer(nnx.gelu(self.inner(states), approximate=False))))


class TransformerClassifier(nnx.Module):
    """BERT's embeddings (learned positions, LayerNorm), encoder layers, mean pooling and a linear head."""

    def __init__(
        self, vocabulary: int, length: int, width: int, layers: int, heads: int, feed_forward: int, dropout: float, rngs: nnx.Rngs
    ):
        self.tokens = nnx.Embed(vocabulary, width, rngs=rngs)
        self.positions = nnx.Embed(length, width, rngs=rngs)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, deterministic=False, rngs=rngs)
        self.layers = nnx.List([EncoderLayer(width, heads, feed_forward, dropout, rngs) for _ in range(layers)])
        self.head = nnx.Linear(width, CLASSES, rngs=rngs)

    def __call__(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        states = self.dropout(self.norm(self.tokens(tokens) + self.positions(jnp.arange(tokens.shape[1]))))
        for layer in self.layers:
            states = layer(states, mask)
        weights = mask[:, :, None].astype(states.dtype)
        return self.head((states * weights).sum(1) / weights.sum(1))


def transformer(
    *,
    width: int,
    layers: int,
    heads: int,
    feed_forward: int,
    dropout: float,
    vocabulary: int,
    length: int,
    split_state: bool,
    work: dict[str, Any],
) -> Competitor:
    """`nnx.jit` over the model and optimizer, or `jax.jit` over their state, split once."""
    model = TransformerClassifier(vocabulary, length, width, layers, heads, feed_forward, dropout, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY), wrt=nnx.Param)
    batches = load_batches(work)
    arrays = [(jnp.asarray(batch.tokens), jnp.asarray(batch.mask), jnp.asarray(batch.labels)) for batch in batches]
    parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))

    def update(model: TransformerClassifier, optimizer: Optimizer, tokens: jax.Array, mask: jax.Array, labels: jax.Array) -> jax.Array:
        def loss_of(model: TransformerClassifier) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(model(tokens, mask), labels).mean()

        loss, gradients = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, gradients)
        return loss

    if split_state:
        graph, state = nnx.split((model, optimizer))

        def functional_update(state: nnx.State[Any, Any], *batch: jax.Array) -> tuple[jax.Array, nnx.State[Any, Any]]:
            model, optimizer = nnx.merge(graph, state)
            loss = update(model, optimizer, *batch)
            return loss, nnx.state((model, optimizer))

        step = jax.jit(functional_update, donate_argnums=0)

        def run(passes: int) -> float:
            nonlocal state
            for _ in range(passes):
                for batch in arrays:
                    loss, state = step(state, *batch)
            return float(loss)
    else:
        jitted = nnx.jit(update)

        def run(passes: int) -> float:
            for _ in range(passes):
                for batch in arrays:
                    loss = jitted(model, optimizer, *batch)
            return float(loss)

    return Competitor(run, parameters, batches)
