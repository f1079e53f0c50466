"""Captured attention is what the classifier's own result came from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.test_classifier import batch, classifier, with_uneven_attention
from transformer.config import schema
from transformer.model.build import build_classifier
from transformer.model.inspection import capture_attention

DATA = batch([7, 3], 7)
capture = jax.jit(capture_attention)


@pytest.mark.parametrize("changes", [{"norm_position": "post"}, {"positions": "rotary", "scan_layers": True}])
def test_a_transformers_weights_are_those_that_its_states_came_from(changes):
    model = classifier(layers=2, **changes)
    weights = capture(model, *DATA)["self_attention"]
    assert weights.shape == (2, 2, 2, 7, 7)
    # Tokens look at tokens of their own text only, and padding at nothing.
    np.testing.assert_allclose(weights.sum(-1), np.broadcast_to((DATA[1] != 0)[:, None], (2, 2, 2, 7)), atol=1e-5)
    assert (weights[:, 1, :, :, 3:] == 0).all()
    assert weights[:, 0].std() > 1e-3
    if changes == {"norm_position": "post"}:
        # Layers that take the captured weights for their attention's make the same states.
        @jax.jit
        def with_weights(encoder, weights):
            x = encoder.embedding(DATA[0], DATA[2])
            for layer, layer_weights in zip(encoder.layers, weights, strict=True):
                values = layer.attention.value(x).reshape(2, 7, 2, 8).swapaxes(1, 2)
                attended = layer.attention.output((layer_weights @ values).swapaxes(1, 2).reshape(x.shape))
                x = layer.attention_norm(x + attended)
                x = layer.feed_forward_norm(x + layer.feed_forward(x))
            return x

        np.testing.assert_allclose(jax.jit(lambda model: model.encoder(*DATA))(model), with_weights(model.encoder, weights), atol=1e-4)


def test_the_weights_of_attention_pooling_make_what_the_head_sees():
    kinds = ["attention", "final_state_attention"]
    config = schema.Recurrent(kind="gru", width=8, hidden=6, layers=1, bidirectional=True, intra_attention=True, pooling=kinds)
    model = build_classifier(config, vocabulary_size=40, classes=5, maximum_length=12, pairs=False, key=jax.random.key(0))
    model = with_uneven_attention(model)
    captured = capture(model, *DATA)
    result, states = jax.jit(lambda model: (model(*DATA), model.encoder(*DATA)))(model)
    pooled = jnp.concatenate([(captured[kind][:, :, None] * states).sum(1) for kind in kinds], -1)
    np.testing.assert_allclose(result, model.head(pooled), atol=1e-5)
    for kind in kinds:
        assert (captured[kind][1, 3:] == 0).all()
        assert captured[kind][0].std() > 1e-3
    assert captured["self_attention"].shape == (1, 2, 1, 7, 7)


@pytest.mark.parametrize("config", [schema.Recurrent(kind="gru", width=8, hidden=6, layers=1), schema.Convolutional(width=8, hidden=6)])
def test_an_encoder_without_attention_has_no_weights(config):
    model = build_classifier(config, vocabulary_size=40, classes=5, maximum_length=12, pairs=False, key=jax.random.key(0))
    assert capture(model, *DATA) == {}
