import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from transformer.config import schema
from transformer.data.tokenization import SpecialTokens
from transformer.training.objectives.classification import ClassificationObjective, classification_loss, mask_tokens

SPECIAL = SpecialTokens(padding=0, unknown=1, first=2, separator=3, mask=4)


def test_label_smoothing_is_the_mixture_of_the_label_and_all_classes():
    logits = jnp.array([[2.0, -1.0, 0.5]])
    log_p = jax.nn.log_softmax(logits)[0]
    expected = -(0.7 * log_p[1] + 0.3 * log_p.mean())
    loss = classification_loss(logits, jnp.array([1]), jnp.ones(1), 0.3)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_masking_spares_special_tokens_and_has_its_rate():
    tokens = jnp.tile(jnp.array([2, 7, 8, 9, 3, 0]), (2000, 1))
    masked = mask_tokens(tokens, SPECIAL, 0.3, jax.random.key(0))
    assert (masked[:, jnp.array([0, 4, 5])] == tokens[:, jnp.array([0, 4, 5])]).all()
    rate = float((masked[:, 1:4] == SPECIAL.mask).mean())
    assert abs(rate - 0.3) < 4 * (0.3 * 0.7 / 6000) ** 0.5
    assert ((masked == tokens) | (masked == SPECIAL.mask)).all()


def test_the_objective_smooths_and_masks_as_its_settings_say():
    seen = []

    class Watching(nnx.Module):
        """The same logits for every text."""

        def __call__(self, tokens, segments, positions, *, key):
            seen.append(np.asarray(tokens))
            return jnp.tile(jnp.array([2.0, -1.0, 0.5]), (len(tokens), 1))

    tokens = jnp.tile(jnp.array([2, *range(5, 25), 3]), (50, 1))
    batch = {"tokens": tokens, "segments": jnp.ones_like(tokens), "positions": tokens, "labels": jnp.ones(50, int), "weights": jnp.ones(50)}

    def loss(**settings):
        value, weight = ClassificationObjective(schema.Classification(**settings), SPECIAL).loss(Watching(), batch, jax.random.key(0))
        assert weight == 50
        return value / 50

    log_p = jax.nn.log_softmax(jnp.array([2.0, -1.0, 0.5]))
    np.testing.assert_allclose(loss(), -log_p[1], rtol=1e-5)
    np.testing.assert_allclose(loss(label_smoothing=0.3, token_masking=0.5), -(0.7 * log_p[1] + 0.3 * log_p.mean()), rtol=1e-5)
    plain, masked = seen
    np.testing.assert_array_equal(plain, tokens)
    assert 0.4 < (masked[:, 1:-1] == SPECIAL.mask).mean() < 0.6
