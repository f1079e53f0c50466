import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer.config import schema
from transformer.data.dataset import SpecialTokens
from transformer.model.build import build_classifier
from transformer.training.objectives.classification import ClassificationObjective, classification_loss, divergence, mask_tokens

SPECIAL = SpecialTokens(padding=0, unknown=1, first=2, separator=3, mask=4)
BATCH = {
    "tokens": jnp.array([[2, 7, 8, 9, 3], [2, 9, 9, 3, 0]]),
    "segments": jnp.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]),
    "positions": jnp.tile(jnp.arange(5), (2, 1)),
    "labels": jnp.array([0, 2]),
    "weights": jnp.array([1.0, 1.0]),
}


def loss(batch, dropout, **settings):
    model = build_classifier(
        schema.Transformer(width=8, heads=2, layers=1, feed_forward=16, dropout=dropout),
        vocabulary_size=20,
        classes=3,
        maximum_length=5,
        pairs=False,
        key=jax.random.key(0),
    )
    model.head.weight[...] *= 50  # at the start all classes are about as probable, whatever the text
    return float(ClassificationObjective(schema.Classification(**settings), SPECIAL).loss(model, batch, jax.random.key(1))[0])


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


def test_divergence_is_the_mean_of_both_directions():
    one, other = jnp.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]]), jnp.array([[0.3, 0.1, -4.0], [9.0, 1.0, 2.0]])
    p, q = np.asarray(jax.nn.softmax(one)), np.asarray(jax.nn.softmax(other))
    rows = ((p * np.log(p / q)).sum(axis=1) + (q * np.log(q / p)).sum(axis=1)) / 2
    np.testing.assert_allclose(divergence(one, other, jnp.array([1.0, 0.0])), rows[0], rtol=1e-5)
    np.testing.assert_allclose(divergence(one, other, jnp.array([1.0, 1.0])), rows.sum(), rtol=1e-5)


def test_consistency_costs_nothing_where_both_passes_are_alike():
    assert loss(BATCH, 0.0, consistency=4.0) == pytest.approx(loss(BATCH, 0.0), rel=1e-6)


@pytest.mark.parametrize(("dropout", "masking"), [(0.3, 0.0), (0.0, 0.5)])
def test_consistency_weighs_how_far_two_passes_are_apart(dropout, masking):
    losses = [loss(BATCH, dropout, token_masking=masking, consistency=weight) for weight in (1.0, 2.0, 3.0)]
    assert losses[1] - losses[0] > 1e-3
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-3)


def test_consistency_leaves_filler_rows_out():
    alone = BATCH | {"weights": jnp.array([1.0, 0.0])}
    other = alone | {"tokens": BATCH["tokens"].at[1].set(jnp.array([2, 15, 11, 3, 0]))}
    assert loss(alone, 0.0, token_masking=0.5, consistency=3.0) == pytest.approx(
        loss(other, 0.0, token_masking=0.5, consistency=3.0), rel=1e-6
    )
