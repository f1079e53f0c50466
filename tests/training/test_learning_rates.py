import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from transformer.config import schema
from transformer.data.tokenization import SpecialTokens
from transformer.model.build import build_classifier
from transformer.model.parameter_paths import names_on_path
from transformer.training.learning_rates import learning_rate_shares
from transformer.training.objectives.classification import ClassificationObjective
from transformer.training.optimizer import build_optimizer
from transformer.training.step import Variation, initial_state, make_train_step

LAYERS = 3
BATCH = {
    "tokens": np.random.default_rng(0).integers(5, 20, (8, 6)).astype(np.int32),
    "segments": np.ones((8, 6), np.int32),
    "positions": np.tile(np.arange(6, dtype=np.int32), (8, 1)),
    "labels": (np.arange(8) % 3).astype(np.int32),
    "weights": np.ones(8, np.float32),
}


def trained(model, optimizer=None, steps=3):
    """Parameters before and after a few steps, by dotted name, and the state they were part of."""
    config = schema.Config(
        name="test",
        data=schema.Data(source=schema.FilesSource(train=[schema.File(path="none")])),
        model=model,
        optimizer=optimizer or schema.AdamW(learning_rate=0.1),
    )
    classifier = build_classifier(model, vocabulary_size=20, classes=3, maximum_length=6, pairs=False, key=jax.random.key(0))
    graph, parameters = nnx.split(classifier)
    shares = learning_rate_shares(config, parameters)
    optimizer = build_optimizer(config, optax.constant_schedule(1.0), shares)
    objective = ClassificationObjective(schema.Classification(), SpecialTokens(padding=0, unknown=1, first=2, separator=3, mask=4))
    step = jax.jit(make_train_step(graph, objective, optimizer, mean_weight=8.0, shares=shares))
    state = first = initial_state(parameters, optimizer, average=False)
    for _ in range(steps):
        state, metrics = step(state, BATCH, Variation(jax.random.key(0), jnp.float32(config.optimizer.learning_rate)))
    return by_name(first.parameters), by_name(state.parameters), state, metrics


def by_name(parameters):
    leaves = jax.tree_util.tree_flatten_with_path(parameters)[0]
    return {".".join(names_on_path(path)).removesuffix(".value"): np.asarray(leaf) for path, leaf in leaves}


def transformer(**settings):
    return schema.Transformer(width=8, heads=2, layers=LAYERS, feed_forward=16, dropout=0.0, **settings)


def moved(before, after):
    return {name for name in before if np.abs(after[name] - before[name]).max() > 0}


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("frozen", [0, 2, LAYERS])
def test_frozen_layers_stay_and_all_others_learn(frozen, scan):
    before, after, *_ = trained(transformer(frozen_layers=frozen, scan_layers=scan))
    for name in before:
        part = name.split(".")
        change = np.abs(after[name] - before[name])
        if part[1] == "layers":
            layers = list(change) if scan else [change]
            numbers = range(LAYERS) if scan else [int(part[2])]
            # The key's bias moves nothing: the softmax takes it out again.
            assert all(
                (layer.max() > 0) == (number >= frozen) for number, layer in zip(numbers, layers, strict=True) if "key.bias" not in name
            )
        else:
            assert (change.max() > 0) == ("embedding" not in name), name


def test_low_rank_sums_and_the_head_alone_learn_and_alone_have_optimizer_state():
    before, after, state, _ = trained(transformer(low_rank=schema.LowRank(rank=2)))
    learned = {name for name in before if "low_rank" in name or name.startswith("head.")}
    assert {name for name in moved(before, after) if "key" not in name} == {name for name in learned if "key" not in name}
    size = sum(before[name].size for name in learned)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.optimizer) if leaf.ndim) == 2 * size


def test_each_layer_learns_at_its_share_of_the_rate():
    optimizer = schema.AdamW(learning_rate=1e-3, weight_decay=0.0, layer_decay=0.5, head_rate=4.0, epsilon=1e-30)
    before, after, *_ = trained(transformer(), optimizer, steps=1)
    # Adam's first step is the learning rate times the gradient's sign.
    steps = {name: np.abs(after[name] - before[name]).max() for name in before}
    assert steps["head.bias"] == pytest.approx(4e-3, rel=1e-3)
    assert steps["encoder.final_norm.scale"] == pytest.approx(1e-3, rel=1e-2)
    for layer in range(LAYERS):
        assert steps[f"encoder.layers.{layer}.feed_forward.output.bias"] == pytest.approx(1e-3 * 0.5 ** (LAYERS - 1 - layer), rel=1e-2)
    assert steps["encoder.embedding.tokens"] == pytest.approx(1e-3 * 0.5**LAYERS, rel=1e-2)


def test_layers_that_stay_do_not_count_in_the_gradients_norm():
    norms = [float(trained(transformer(frozen_layers=2, scan_layers=scan), steps=1)[-1].gradient_norm) for scan in (False, True)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    assert norms[0] < 0.999 * trained(transformer(frozen_layers=0), steps=1)[-1].gradient_norm


def test_a_convolution_and_its_norm_learn_at_the_rate_of_their_layer_and_what_is_below_at_the_embeddings():
    model = schema.Convolutional(width=8, hidden=8, layers=LAYERS, dropout=0.0)
    optimizer = schema.AdamW(learning_rate=1e-3, weight_decay=0.0, layer_decay=0.5, epsilon=1e-30)
    before, after, *_ = trained(model, optimizer, steps=1)
    steps = {name: np.abs(after[name] - before[name]).max() for name in before}
    for layer in range(LAYERS):
        for name in ("norm.scale", "convolution.taps.bias"):
            assert steps[f"encoder.layers.{layer}.{name}"] == pytest.approx(1e-3 * 0.5 ** (LAYERS - 1 - layer), rel=1e-2)
    for name in ("embedding.tokens", "embedding_projection.bias"):
        assert steps[f"encoder.{name}"] == pytest.approx(1e-3 * 0.5**LAYERS, rel=1e-2)
