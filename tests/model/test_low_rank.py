import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from transformer.config import schema
from transformer.model.build import build_classifier
from transformer.model.low_rank import merge_low_rank

TOKENS = np.random.default_rng(0).integers(5, 30, (3, 7)).astype(np.int32)
INPUTS = jax.tree.map(
    jnp.asarray, {"tokens": TOKENS, "segments": np.ones_like(TOKENS), "positions": np.tile(np.arange(7, dtype=np.int32), (3, 1))}
)


def build(low_rank, **settings):
    config = schema.Transformer(width=8, heads=2, layers=2, feed_forward=16, low_rank=low_rank, **settings)
    return build_classifier(config, vocabulary_size=30, classes=3, maximum_length=8, pairs=False, key=jax.random.key(0))


@pytest.mark.parametrize("settings", [{}, {"scan_layers": True}, {"activation": "swiglu", "bias": False}])
def test_at_first_low_rank_sums_change_nothing_and_merged_ones_change_nothing_either(settings):
    low_rank = schema.LowRank(rank=2, alpha=6.0)
    model, plain = build(low_rank, **settings), build(None, **settings)
    names = {key.key for path, _ in jax.tree_util.tree_flatten_with_path(nnx.state(model))[0] for key in path if hasattr(key, "key")}
    assert {"down_weight", "up_weight"} <= names
    parameters = nnx.to_pure_dict(nnx.state(model))

    def logits(encoder):
        state = nnx.state(plain)
        nnx.replace_by_pure_dict(state, {**nnx.to_pure_dict(state), "encoder": encoder, "head": parameters["head"]})
        return nnx.merge(nnx.graphdef(plain), state)(**INPUTS)

    np.testing.assert_array_equal(logits(merge_low_rank(parameters["encoder"], low_rank)), model(**INPUTS))
    moved = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), parameters)
    state = nnx.state(model)
    nnx.replace_by_pure_dict(state, moved)
    parameters = moved
    changed = nnx.merge(nnx.graphdef(model), state)(**INPUTS)
    np.testing.assert_allclose(logits(merge_low_rank(moved["encoder"], low_rank)), changed, rtol=1e-4, atol=1e-5)
    without = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if path[-1].key == "up_weight" else leaf, moved["encoder"]
    )
    assert np.abs(logits(merge_low_rank(without, low_rank)) - changed).max() > 1e-3
