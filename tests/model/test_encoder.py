"""What encoders promise: a text's states depend on that text only, in every variant; and each variant is its paper's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from transformer.config import schema
from transformer.model.convolutional import ConvolutionalEncoder
from transformer.model.encoder import Encoder, EncoderLayer
from transformer.model.recurrent import RecurrentEncoder

VOCABULARY, LENGTH, WIDTH = 40, 12, 16

VARIANTS = {
    "2017": {"norm_position": "post", "activation": "relu"},
    "bert": {"norm_position": "post", "positions": "learned", "embedding_norm": True},
    "modern": {"norm": "rms", "positions": "rotary", "activation": "swiglu"},
    "modernbert": {
        "layers": 3,
        "embedding_norm": True,
        "positions": "rotary",
        "activation": "geglu",
        "bias": False,
        "local_window": 2,
        "global_every": 2,
        "local_rotary_base": 100.0,
    },
    "scanned": {"positions": "none", "activation": "geglu", "scan_layers": True, "rematerialize": True},
    "bfloat16": {"precision": "bfloat16", "activation": "gelu_tanh"},
    "convolutional": {"kind": "convolutional", "hidden": 12, "kernel_size": 5},
    "bfloat16_convolutional": {"kind": "convolutional", "hidden": 12, "precision": "bfloat16"},
    "intra_attention": {"kind": "lstm", "hidden": 8, "intra_attention": True},
    "bfloat16_intra_attention": {"kind": "gru", "hidden": 8, "bidirectional": True, "intra_attention": True, "precision": "bfloat16"},
}
EVERY = pytest.mark.parametrize("variant", VARIANTS)


def make(variant=None, *, pairs=False, seed=0, **changes):
    settings = VARIANTS.get(variant, {}) | changes
    shape = {"vocabulary_size": VOCABULARY, "maximum_length": LENGTH, "pairs": pairs, "rngs": nnx.Rngs(seed)}
    if "kind" not in settings:
        return Encoder(schema.Transformer(width=WIDTH, heads=2, feed_forward=32, **settings), **shape)
    if settings["kind"] == "convolutional":
        return ConvolutionalEncoder(schema.Convolutional(width=WIDTH, **settings), **shape)
    encoder = RecurrentEncoder(schema.Recurrent(width=WIDTH, **settings), **shape)
    vector = encoder.intra_attention.attention.vector
    vector[...] = jax.random.normal(jax.random.key(0), vector.shape)  # it starts at zero, which would hide what it attends to
    return encoder


def rows(*texts, length=LENGTH):
    """Tokens, segments and positions: one row for each list of texts."""
    arrays = np.zeros((3, len(texts), length), np.int32)
    for row, packed in enumerate(texts):
        start = 0
        for number, text in enumerate(packed, start=1):
            arrays[:, row, start : start + len(text)] = text, [number] * len(text), range(len(text))
            start += len(text)
    return tuple(jnp.asarray(array) for array in arrays)


@jax.jit
def states(encoder, batch, key=None):
    return encoder(*batch, key=key)


def weighted(x):
    return (x * jnp.cos(jnp.arange(x.size).reshape(x.shape))).sum()


FIRST, SECOND = [3, 1, 4, 1, 5], [9, 2, 6, 5]


@EVERY
def test_padding_and_packing_leave_a_text_as_it_is(variant):
    encoder = make(variant)
    tolerance = {"atol": 2e-2} if variant.startswith("bfloat16") else {"atol": 2e-5}
    alone = states(encoder, rows([FIRST], length=5))[0]
    batch = rows([FIRST], [SECOND, FIRST], [], [[7] * 12])
    together = states(encoder, batch)
    np.testing.assert_allclose(together[0, :5], alone, **tolerance)
    np.testing.assert_allclose(together[1, 4:9], alone, **tolerance)
    # What stands in the padding does not matter, and it gets a finite state.
    tokens, segments, positions = batch
    garbage = jnp.where(segments == 0, 39, tokens), segments, jnp.where(segments == 0, 11, positions)
    changed = states(encoder, garbage)
    np.testing.assert_array_equal(np.asarray(changed)[segments != 0], np.asarray(together)[segments != 0])
    assert np.isfinite(changed).all()


@EVERY
def test_no_gradient_comes_from_padding_or_another_text(variant):
    encoder = make(variant)
    batch = rows([FIRST, SECOND], [])
    tokens = batch[0].at[0, 9:].set(20).at[1].set(30)  # in the padding
    gradient = jax.jit(jax.grad(lambda encoder: weighted(encoder(tokens, *batch[1:])[0, :5])))(encoder)
    by_token = np.abs(np.asarray(gradient.embedding.tokens[...])).sum(axis=1)
    assert (by_token[[3, 1, 4, 5]] > 0).all()  # 5 stands in both
    assert (by_token[[9, 2, 6, 20, 30]] == 0).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@EVERY
def test_a_batch_of_padding_alone_has_finite_states_and_gradients(variant):
    value, gradient = jax.jit(jax.value_and_grad(lambda encoder: weighted(encoder(*rows([])))))(make(variant))
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_without_positions_a_permuted_text_has_permuted_states():
    text, order = [3, 1, 4, 15, 9, 2, 6, 35], np.random.default_rng(0).permutation(8)
    permuted = [text[index] for index in order]
    for positions in ("none", "sinusoidal", "learned", "rotary"):
        encoder = make(positions=positions)
        same = np.abs(states(encoder, rows([text]))[0, order] - states(encoder, rows([permuted]))[0, :8]).max() < 1e-5
        assert same == (positions == "none"), positions


def test_rotary_positions_tell_distances_only():
    tokens, segments, positions = rows([FIRST])
    encoder = make(positions="rotary")
    np.testing.assert_allclose(
        states(encoder, (tokens, segments, positions))[0, :5], states(encoder, (tokens, segments, positions + 4))[0, :5], atol=1e-5
    )


def test_a_local_layer_sees_its_window_and_every_so_many_th_all_of_its_text():
    encoder = make("modernbert")
    batch = rows([[7] * 5, [3, 1, 4, 15, 9, 2, 6]])
    weights = np.asarray(jax.jit(lambda encoder: encoder.attention_weights(*batch))(encoder))[:, 0]
    _, segments, positions = (np.asarray(array)[0] for array in batch)
    same_text = segments[:, None] == segments
    near = np.abs(positions[:, None] - positions) <= 2
    for layer, seen in enumerate((same_text, same_text & near, same_text)):
        assert ((weights[layer] > 0) == seen).all(), layer


def test_without_layers_that_see_everything_all_are_local():
    assert [layer.local for layer in make("modernbert", global_every=None).layers] == [True, True, True]
    assert not any(layer.local for layer in make("modernbert", local_window=None).layers)


def test_local_layers_have_their_own_rotary_base():
    bases = [layer.attention.rotary_base for layer in make("modernbert", rotary_base=5000.0).layers]
    assert bases == [5000.0, 100.0, 5000.0]
    assert make("modernbert", local_rotary_base=None).layers[1].attention.rotary_base == 10000.0


def test_normalized_embeddings_are_not_scaled_and_need_no_second_norm():
    encoder = make("modernbert", norm_epsilon=1e-12)
    tokens, _, positions = rows([FIRST])
    assert encoder.embedding.tokens[...].std() == pytest.approx(0.02, rel=0.1)
    np.testing.assert_array_equal(encoder.embedding(tokens, positions), encoder.embedding.tokens[...][tokens])
    embedded = encoder._embed(tokens, positions, None)
    np.testing.assert_allclose(embedded.std(axis=-1), 1.0, rtol=1e-5)
    assert [layer.attention_norm is None for layer in encoder.layers] == [True, False, False]
    assert [layer.attention_norm is None for layer in make("bert").layers] == [False, False]
    assert make(positions="learned").embedding_norm is None


def test_without_biases_there_is_none():
    for norm in ("layer", "rms"):
        paths = [str(path[-1]) for path, _ in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(make(bias=False, norm=norm))))]
        assert paths
        assert not any("bias" in path for path in paths)


def test_the_config_says_how_many_positions_and_types_there_are():
    encoder = make("bert", maximum_positions=30, token_types=3)
    assert encoder.embedding.positions.shape == (30, WIDTH)
    assert encoder.embedding.types.shape == (3, WIDTH)
    assert make("bert", pairs=True).embedding.types.shape == (2, WIDTH)
    assert make("bert", pairs=True, token_types=0).embedding.types is None
    assert make("bert").embedding.positions.shape == (LENGTH, WIDTH)


def test_scanning_and_rematerialization_change_nothing():
    batch = rows([FIRST], [SECOND, FIRST])

    @jax.jit
    def run(encoder):
        return jax.value_and_grad(lambda encoder: weighted(encoder(*batch, key=jax.random.key(1))))(encoder)

    value, gradient = run(make(attention_dropout=0.1))
    for scan, rematerialize in ((True, False), (False, True), (True, True)):
        other_value, other = run(make(attention_dropout=0.1, scan_layers=scan, rematerialize=rematerialize))
        np.testing.assert_allclose(other_value, value, rtol=1e-4)
        np.testing.assert_allclose(other.embedding.tokens[...], gradient.embedding.tokens[...], atol=1e-4)
        for index in range(2):
            weight = other.layers.attention.value.weight[index] if scan else other.layers[index].attention.value.weight[...]
            np.testing.assert_allclose(weight, gradient.layers[index].attention.value.weight[...], atol=1e-4)


@pytest.mark.parametrize("embedding_norm", [False, True])
def test_rematerialization_keeps_apart_layers_that_differ_in_their_attention_alone(embedding_norm):
    """JAX would take the first layer's program for all layers with parameters of the same shapes."""
    batch = rows([FIRST], [SECOND, FIRST])
    settings = {"layers": 4, "local_window": 1, "global_every": 3, "embedding_norm": embedding_norm}
    plain, rematerialized = (
        jax.jit(lambda encoder: encoder(*batch))(make(norm_position="pre", rematerialize=rematerialize, **settings))
        for rematerialize in (False, True)
    )
    np.testing.assert_allclose(rematerialized, plain, atol=1e-5)


@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_a_layer_is_its_papers_equation(norm_position):
    config = schema.Transformer(width=WIDTH, heads=2, feed_forward=32, norm_position=norm_position)
    layer = EncoderLayer(config, index=0, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 6, WIDTH)) * 3 + 1
    mask, positions = jnp.ones((2, 6, 6), bool), jnp.tile(jnp.arange(6), (2, 1))

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)

    @jax.jit
    def equation(layer, x):
        if norm_position == "pre":
            y = x + layer.attention(norm(x), mask, positions)
            return y + layer.feed_forward(norm(y))
        y = norm(x + layer.attention(x, mask, positions))
        return norm(y + layer.feed_forward(y))

    np.testing.assert_allclose(jax.jit(lambda layer, x: layer(x, mask, positions))(layer, x), equation(layer, x), atol=2e-5)


@pytest.mark.parametrize("variant", [None, "convolutional", "intra_attention"])
def test_dropout_follows_the_key_alone(variant):
    encoder, batch = make(variant, dropout=0.3), rows([FIRST], [SECOND])
    first, again, second = (states(encoder, batch, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    np.testing.assert_array_equal(states(make(variant, dropout=0.0), batch, jax.random.key(1)), states(encoder, batch))


def test_layers_drop_different_elements():
    # Two layers alike, each the identity but for its feed-forward bias: what is dropped shows in the states.
    encoder = make(dropout=0.5, positions="none", norm_position="pre")
    for layer in encoder.layers:
        for linear in (layer.attention.output, layer.feed_forward.output):
            linear.weight[...] = jnp.zeros_like(linear.weight[...])
    encoder.layers[0].feed_forward.output.bias[...] = jnp.ones(WIDTH)
    encoder.layers[1].feed_forward.output.bias[...] = jnp.full(WIDTH, 10.0)
    encoder.embedding.tokens[...] = jnp.zeros((VOCABULARY, WIDTH))
    encoder.final_norm = None
    sums = np.asarray(states(encoder, rows([list(range(12))]), jax.random.key(0)))
    assert sorted(np.unique(sums)) == [0, 2, 20, 22]
    assert all(0.1 < (sums == value).mean() < 0.4 for value in (0, 2, 20, 22))


@pytest.mark.parametrize(
    ("norm_position", "norm", "positions", "activation", "pairs"),
    [("pre", "layer", "sinusoidal", "gelu", False), ("post", "rms", "learned", "relu", True), ("pre", "rms", "rotary", "geglu", True)],
)
def test_the_number_of_parameters_is_the_papers(norm_position, norm, positions, activation, pairs):
    for layers, scan in ((1, False), (3, True)):
        changes = {"norm_position": norm_position, "norm": norm, "positions": positions, "activation": activation}
        changes["embedding_norm"] = positions == "learned"
        encoder = jax.eval_shape(lambda: make(**changes, layers=layers, scan_layers=scan, pairs=pairs))  # noqa: B023
        norm_parameters = WIDTH * (2 if norm == "layer" else 1)
        inner, matrices = (24, 3) if activation == "geglu" else (32, 2)
        layer = 4 * (WIDTH**2 + WIDTH) + matrices * WIDTH * inner + (matrices - 1) * inner + WIDTH + 2 * norm_parameters
        embeddings = (VOCABULARY + (LENGTH if positions == "learned" else 0) + (2 if pairs else 0)) * WIDTH
        norms = norm_parameters * ((positions == "learned") + (norm_position == "pre"))
        assert sum(leaf.size for leaf in jax.tree.leaves(encoder)) == embeddings + norms + layers * layer


def test_embeddings_have_the_sinusoids_scale_and_types_are_told_apart():
    encoder = make(pairs=True, seed=3)
    tokens, _, positions = rows([list(range(12))])
    types = jnp.asarray([[0] * 6 + [1] * 6])
    embedded = encoder.embedding(tokens, positions, types)
    assert 0.9 < (encoder.embedding.tokens[...] * WIDTH**0.5).std() < 1.1
    untyped = encoder.embedding(tokens, positions)
    np.testing.assert_array_equal(untyped[0, :6], embedded[0, :6])
    types_difference = (encoder.embedding.types[1] - encoder.embedding.types[0]) * WIDTH**0.5
    np.testing.assert_allclose((embedded - untyped)[0, 6:], jnp.tile(types_difference, (6, 1)), atol=1e-5)


@pytest.mark.parametrize("variant", [None, "convolutional", "intra_attention"])
def test_bfloat16_is_close_to_float32(variant):
    batch = rows([FIRST], [SECOND])
    exact, rounded = states(make(variant), batch), states(make(variant, precision="bfloat16"), batch)
    assert rounded.dtype == jnp.float32
    assert 0 < np.abs(exact - rounded).max() < 0.1
