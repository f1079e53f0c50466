"""What a classifier looked at: its attention weights, for a person to see."""

from jax import Array
from jaxtyping import Int

from transformer.model.classifier import Classifier


def capture_attention(
    classifier: Classifier,
    tokens: Int[Array, "batch length"],
    segments: Int[Array, "batch length"],
    positions: Int[Array, "batch length"],
    types: Int[Array, "batch length"] | None = None,
) -> dict[str, Array]:
    """The weights of all attention, without dropout; pure, so it can be compiled.

    They are computed anew, apart from the logits, so that training and prediction carry nothing for them.

    Returns:
        By name:

        - `self_attention` [layers, batch, heads, length, length], how much each token (fourth axis) looks at each (last axis), where the
          encoder has such weights: a Transformer, or a recurrent network with intra-attention (one layer, one head);
        - `attention` and `final_state_attention` [batch, length], the weight of each token in the pooling of that name, where there is one.
    """
    captured: dict[str, Array] = {}
    weights = classifier.encoder.attention_weights(tokens, segments, positions, types)
    if weights is not None:
        captured["self_attention"] = weights
    states = classifier.encoder(tokens, segments, positions, types)
    for kind, pooling in classifier.attention_pooling.items():
        captured[kind] = pooling.weights(states, segments)
    return captured
