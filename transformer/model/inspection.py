"""What a classifier looked at: its attention weights, for a person to see."""

from jax import Array
from jaxtyping import Float, Int

from transformer.model.classifier import Classifier


def capture_attention(
    classifier: Classifier,
    tokens: Int[Array, "batch length"],
    segments: Int[Array, "batch length"],
    positions: Int[Array, "batch length"],
    types: Int[Array, "batch length"] | None = None,
) -> tuple[Float[Array, "batch classes"], dict[str, Array]]:
    """Logits without dropout, and what led to them; pure, so it can be compiled.

    The weights are computed anew, beside the logits, so that training and prediction carry nothing for them.

    Returns:
        The logits, and by name:

        - `states` [batch, length, width], the encoder's;
        - `self_attention` [layers, batch, heads, length, length], how much each token (fourth axis) looks at each (last axis), where the
          encoder has such weights: a Transformer, or a recurrent network with intra-attention (one layer, one head);
        - `attention` and `final_state_attention` [batch, length], the weight of each token in the pooling of that name, where there is one.
    """
    states = classifier.encoder(tokens, segments, positions, types)
    captured = {"states": states}
    weights = classifier.encoder.attention_weights(tokens, segments, positions, types)
    if weights is not None:
        captured["self_attention"] = weights
    for kind, pooling in classifier.attention_pooling.items():
        captured[kind] = pooling.weights(states, segments)
    return classifier(tokens, segments, positions, types), captured
