"""The recurrent encoders against a step-by-step reference in float64, and what padding, packing, order and dropout promise."""

import os
import subprocess
import sys
from functools import cache, partial
from itertools import pairwise

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings

from transformer.config import schema
from transformer.model.linear_recurrence import linear_recurrence
from transformer.model.minimal_recurrent import MinimalRecurrentLayer
from transformer.model.recurrent import RecurrentEncoder, RecurrentLayer
from transformer.model.recurrent_cells import CELLS
from transformer.model.recurrent_scan import recur

MINIMAL = ("mingru", "minlstm")
KINDS = (*CELLS, *MINIMAL)
VOCABULARY, WIDTH, HIDDEN, LENGTH = 11, 6, 5, 9

# Texts of 4, 3 and 1 tokens with padding before, between and after them; a text that fills its row; a row of padding.
SEGMENTS = np.array([[0, 1, 1, 1, 1, 2, 2, 2, 0], [0, 0, 7, 0, 3, 3, 0, 3, 3], [1] * LENGTH, [0] * LENGTH], np.int32)
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, SEGMENTS.shape).astype(np.int32)


def make_layer(kind, *, reverse):
    layer = MinimalRecurrentLayer if kind in MINIMAL else RecurrentLayer
    return layer(kind, WIDTH, HIDDEN, reverse=reverse, dtype="float32", rngs=nnx.Rngs(0))


def encoder(kind, **settings):
    config = schema.Recurrent(kind=kind, **{"width": WIDTH, "hidden": HIDDEN, "layers": 2, "bidirectional": True, **settings})
    return RecurrentEncoder(config, vocabulary_size=VOCABULARY, maximum_length=LENGTH, pairs=False, rngs=nnx.Rngs(1))


@partial(jax.jit, static_argnums=0)
def apply(definition, state, tokens, segments, key=None):
    return nnx.merge(definition, state)(tokens, segments, jnp.zeros_like(tokens), key=key)


@cache
def split(kind, **settings):
    return nnx.split(encoder(kind, **settings))


def states(kind, tokens, segments, key=None, **settings):
    return np.asarray(apply(*split(kind, **settings), jnp.asarray(tokens), jnp.asarray(segments), key))


# ----------------------------------------------------------------------------------------------------------- reference


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference_text(kind, x, weights):
    """One text [length, inputs] in one direction, by the equations as they are printed."""
    if kind in MINIMAL:
        return reference_minimal(kind, x @ weights[0] + weights[1])
    input_weight, recurrent_weight, bias = weights
    hidden = len(recurrent_weight)
    h = c = np.zeros(hidden)
    outputs = []
    for x_t in x:
        w, u, b = (a.reshape(*a.shape[:-1], -1, hidden) for a in (x_t @ input_weight, h @ recurrent_weight, bias))
        if kind == "rnn":
            h = np.tanh(w[0] + u[0] + b[0])
        elif kind == "lstm":
            i, f, o = (sigmoid(w[k] + u[k] + b[k]) for k in range(3))
            c = f * c + i * np.tanh(w[3] + u[3] + b[3])
            h = o * np.tanh(c)
        else:
            r, z = (sigmoid(w[k] + u[k] + b[k]) for k in range(2))
            h = (1 - z) * np.tanh(w[2] + b[2] + r * (u[2] + b[3])) + z * h
        outputs.append(h)
    return np.array(outputs)


def reference_minimal(kind, projected):
    h, outputs = np.zeros(HIDDEN), []
    for *gates, candidate in projected.reshape(len(projected), -1, HIDDEN):
        if kind == "mingru":
            z = sigmoid(gates[0])
            h = (1 - z) * h + z * candidate
        else:
            f, i = map(sigmoid, gates)
            h = f / (f + i) * h + i / (f + i) * candidate
        outputs.append(h)
    return np.array(outputs)


def reference_layer(kind, x, segments, weights, *, reverse):
    result = np.zeros((*segments.shape, HIDDEN))
    for row, ids in enumerate(segments):
        borders = np.flatnonzero(np.diff(ids, prepend=-1, append=-1))
        for start, stop in pairwise(borders):
            if ids[start] != 0:
                text = x[row, start:stop]
                result[row, start:stop] = (
                    reference_text(kind, text[::-1], weights)[::-1] if reverse else reference_text(kind, text, weights)
                )
    return result


def reference(model, tokens, segments):
    x = model["embedding"]["tokens"][tokens] * WIDTH**0.5
    for directions in model["layers"]:
        x = np.concatenate(
            [reference_layer(model["kind"], x, segments, weights, reverse=bool(index)) for index, weights in enumerate(directions)], axis=-1
        )
    return x


def in_numpy(kind, model):
    """The parameters of an encoder, or a gradient shaped like it, in float64."""
    names = ("input_weight", "bias") if kind in MINIMAL else ("input_weight", "recurrent_weight", "bias")
    layers = [[[getattr(direction, name)[...] for name in names] for direction in layer] for layer in model.layers]
    return {
        "kind": kind,
        **jax.tree.map(lambda a: np.asarray(a, np.float64), {"embedding": {"tokens": model.embedding.tokens[...]}, "layers": layers}),
    }


def with_random_biases(model):
    """Biases of zero would hide where they enter."""
    for index, direction in enumerate(d for layer in model.layers for d in layer):
        direction.bias[...] = jax.random.normal(jax.random.key(index), direction.bias.shape)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_equals_the_equations_step_by_step(kind, layers, bidirectional):
    model = with_random_biases(encoder(kind, layers=layers, bidirectional=bidirectional))
    result = apply(*nnx.split(model), TOKENS, SEGMENTS)
    np.testing.assert_allclose(result, reference(in_numpy(kind, model), TOKENS, SEGMENTS), atol=3e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_equals_finite_differences_of_the_equations(kind):
    model = with_random_biases(encoder(kind))
    definition, state = nnx.split(model)
    cotangent = np.random.default_rng(1).standard_normal((*TOKENS.shape, 2 * HIDDEN))
    gradient = jax.jit(jax.grad(lambda state: (apply(definition, state, TOKENS, SEGMENTS) * cotangent).sum()))(state)
    gradient = in_numpy(kind, nnx.merge(definition, gradient))
    parameters = in_numpy(kind, model)
    leaves, tree = jax.tree.flatten({name: parameters[name] for name in ("embedding", "layers")})
    gradients = jax.tree.leaves({name: gradient[name] for name in ("embedding", "layers")})

    def loss(leaves):
        return (reference({"kind": kind, **jax.tree.unflatten(tree, leaves)}, TOKENS, SEGMENTS) * cotangent).sum()

    for index, (leaf, found) in enumerate(zip(leaves, gradients, strict=True)):
        direction = np.random.default_rng(index).standard_normal(leaf.shape)
        above, below = ([*leaves[:index], leaf + step * direction, *leaves[index + 1 :]] for step in (1e-5, -1e-5))
        np.testing.assert_allclose((found * direction).sum(), (loss(above) - loss(below)) / 2e-5, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", CELLS)
def test_hand_written_gradient_equals_automatic_differentiation(kind):
    cell, key = CELLS[kind], jax.random.key(2)
    shapes = [(LENGTH, 4, cell.gates * HIDDEN), (HIDDEN, cell.gates * HIDDEN), (cell.biases * HIDDEN,)]
    arguments = [jax.random.normal(jax.random.fold_in(key, i), shape) for i, shape in enumerate(shapes)]
    cotangent = jax.random.normal(key, (LENGTH, 4, HIDDEN))
    continues = jax.random.bernoulli(key, 0.7, (LENGTH, 4, 1)).astype(jnp.float32)

    def plain(projected, weight, bias):
        def step(state, inputs):
            projected, continues = inputs
            state = tuple(continues * array for array in state)
            state, _ = cell.forward(projected, state[0] @ weight, bias, state)
            return state, state[0]

        return jax.lax.scan(step, (jnp.zeros((4, HIDDEN)),) * cell.states, (projected, continues), reverse=True)[1]

    @partial(jax.jit, static_argnums=0)
    def gradients(function, *arguments):
        outputs, pullback = jax.vjp(function, *arguments)
        return outputs, pullback(cotangent)

    ours = gradients(lambda *arguments: recur(cell, *arguments, continues, True, jnp.float32), *arguments)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5), ours, gradients(plain, *arguments))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_parallel_scan_and_its_gradient_are_those_of_the_recurrence_a_step_at_a_time(reverse):
    key = jax.random.key(0)
    decay, addition, cotangent = (jax.random.uniform(jax.random.fold_in(key, i), (LENGTH, 4, HIDDEN), minval=-1.0) for i in range(3))

    def plain(decay, addition):
        def step(h, inputs):
            h = inputs[0] * h + inputs[1]
            return h, h

        return jax.lax.scan(step, jnp.zeros((4, HIDDEN)), (decay, addition), reverse=reverse)[1]

    @partial(jax.jit, static_argnums=0)
    def gradients(function):
        outputs, pullback = jax.vjp(function, decay, addition)
        return outputs, pullback(cotangent)

    ours = gradients(lambda decay, addition: linear_recurrence(decay, addition, reverse))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), ours, gradients(plain))


def test_no_step_of_the_minimal_networks_waits_for_the_one_before():
    layer = make_layer("minlstm", reverse=False)
    program = str(jax.make_jaxpr(jax.grad(lambda x: layer(x, jnp.ones((64, 1), jnp.int32)).sum()))(jnp.ones((64, 1, WIDTH))))
    assert "scan[" not in program
    assert "while[" not in program


def test_gates_that_are_shut_altogether_give_no_nan():
    layer = make_layer("minlstm", reverse=False)
    layer.bias[...] = jnp.full_like(layer.bias[...], -1e4)
    function = jax.jit(jax.value_and_grad(lambda x: layer(x, jnp.ones((LENGTH, 1), jnp.int32)).sum()))
    value, gradient = function(jnp.ones((LENGTH, 1, WIDTH)))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


# ------------------------------------------------------------------------------------------------ padding and packing


@st.composite
def packed_rows(draw):
    """Three rows of texts, with padding wherever there is room for it, and where each text starts: (segments, [(row, start, length)])."""
    segments, texts = np.zeros((3, LENGTH), np.int32), []
    for row in range(3):
        position, last = 0, 0
        while position < LENGTH:
            position += draw(st.integers(0, 3))
            length = draw(st.integers(1, LENGTH))
            if position + length > LENGTH:
                break
            last += draw(st.integers(1, 3))
            segments[row, position : position + length] = last
            texts.append((row, position, length))
            position += length
    return segments, texts


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(packed=packed_rows(), seed=st.integers(0, 2**32 - 1))
def test_a_text_among_others_and_padding_equals_the_text_alone(kind, packed, seed):
    segments, texts = packed
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, segments.shape).astype(np.int32)
    together = states(kind, tokens, segments)
    for row, start, length in texts:
        alone = np.zeros((3, LENGTH), np.int32)
        alone[1, :length] = 1
        moved = np.zeros_like(alone)
        moved[1, :length] = tokens[row, start : start + length]
        np.testing.assert_allclose(together[row, start : start + length], states(kind, moved, alone)[1, :length], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_in_padding_makes_no_difference(kind):
    other = np.where(SEGMENTS == 0, (TOKENS + 1) % VOCABULARY, TOKENS)
    np.testing.assert_array_equal(states(kind, TOKENS, SEGMENTS), states(kind, other, SEGMENTS))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_gets_zeros_and_gives_no_gradient(kind):
    empty = np.zeros_like(SEGMENTS)
    assert not states(kind, TOKENS, empty).any()
    assert not states(kind, TOKENS, SEGMENTS)[SEGMENTS == 0].any()
    definition, state = split(kind)
    gradient = jax.jit(jax.grad(lambda state: ((apply(definition, state, TOKENS, empty) + 1.0) ** 2).sum()))(state)
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradient))


# --------------------------------------------------------------------------------------------------------------- order


def layer_jacobian(kind, reverse):
    """Whether the output at a position depends on the input at another: [length of outputs, length of inputs]."""
    layer = make_layer(kind, reverse=reverse)
    x = jax.random.normal(jax.random.key(0), (LENGTH, 1, WIDTH))
    jacobian = jax.jit(jax.jacrev(lambda x: layer(x, jnp.ones((LENGTH, 1), jnp.int32))))(x)
    return np.abs(jacobian).sum((1, 2, 4, 5)) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_each_direction_sees_the_tokens_up_to_its_own_and_no_other(kind):
    np.testing.assert_array_equal(layer_jacobian(kind, reverse=False), np.tri(LENGTH) > 0)
    np.testing.assert_array_equal(layer_jacobian(kind, reverse=True), np.tri(LENGTH).T > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reverse_direction_is_the_forward_one_in_a_mirror(kind):
    forward, reverse = (make_layer(kind, reverse=reverse) for reverse in (False, True))
    x, segments = jax.random.normal(jax.random.key(0), (LENGTH, 4, WIDTH)), jnp.asarray(SEGMENTS.T)
    ours, mirrored = jax.jit(lambda x, segments: (reverse(x, segments), forward(x[::-1], segments[::-1])[::-1]))(x, segments)
    np.testing.assert_allclose(ours, mirrored, atol=1e-6)


# ------------------------------------------------------------------------------------------------- dropout and numbers


def test_dropout_happens_with_a_key_only():
    plain = states("gru", TOKENS, SEGMENTS)
    dropped, again, other = (states("gru", TOKENS, SEGMENTS, jax.random.key(seed), dropout=0.5) for seed in (0, 0, 1))
    np.testing.assert_array_equal(dropped, again)
    assert (dropped != plain)[SEGMENTS != 0].any(axis=-1).all()
    assert (dropped != other)[SEGMENTS != 0].any(axis=-1).all()
    np.testing.assert_array_equal(states("gru", TOKENS, SEGMENTS, dropout=0.5), plain)
    np.testing.assert_allclose(states("gru", TOKENS, SEGMENTS, jax.random.key(0), dropout=0.0), plain, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_rounds_the_inputs_of_products_only(kind):
    def loss(state):
        result = apply(definition, state, TOKENS, SEGMENTS)
        return (result**2).sum(), result

    exact = states(kind, TOKENS, SEGMENTS, layers=1, bidirectional=False)
    definition, state = split(kind, layers=1, bidirectional=False, precision="bfloat16")
    (_, result), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(state)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, exact, atol=0.05)
    assert (result != exact).any()
    assert all(leaf.dtype == jnp.float32 and jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@given(
    width=st.integers(1, 9), hidden=st.integers(1, 9), layers=st.integers(1, 3), bidirectional=st.booleans(), kind=st.sampled_from(KINDS)
)
@settings(max_examples=10)
def test_number_of_parameters(width, hidden, layers, bidirectional, kind):
    config = schema.Recurrent(kind=kind, width=width, hidden=hidden, layers=layers, bidirectional=bidirectional)

    def build():
        return nnx.state(RecurrentEncoder(config, vocabulary_size=VOCABULARY, maximum_length=4, pairs=False, rngs=nnx.Rngs(0)), nnx.Param)

    weights, recurrent_weights, biases = {"rnn": (1, 1, 1), "lstm": (4, 4, 4), "gru": (3, 3, 4), "mingru": (2, 0, 2), "minlstm": (3, 0, 3)}[
        kind
    ]
    directions = 2 if bidirectional else 1
    inputs = [width] + [directions * hidden] * (layers - 1)
    expected = VOCABULARY * width + sum(directions * hidden * (weights * size + recurrent_weights * hidden + biases) for size in inputs)
    assert sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(build))) == expected


def test_initial_weights():
    layer = RecurrentLayer("lstm", WIDTH, HIDDEN, dtype="float32", rngs=nnx.Rngs(0))
    for block in jnp.split(layer.recurrent_weight[...], 4, axis=1):
        np.testing.assert_allclose(block.T @ block, np.eye(HIDDEN), atol=1e-5)
    limit = (6 / (WIDTH + HIDDEN)) ** 0.5
    assert limit / 2 < jnp.abs(layer.input_weight[...]).max() <= limit
    np.testing.assert_array_equal(layer.bias[...].reshape(4, HIDDEN)[:, 0], [0, 1, 0, 0])
    for kind, biases in (("mingru", [-1, 0]), ("minlstm", [1, 0, 0])):
        layer = make_layer(kind, reverse=False)
        np.testing.assert_array_equal(layer.bias[...].reshape(-1, HIDDEN)[:, 0], biases)
        assert limit / 2 < jnp.abs(layer.input_weight[...]).max() <= limit


# ------------------------------------------------------------------------------------------------------------- devices


SPLIT_AMONG_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from transformer.config import schema
from transformer.model.recurrent import RecurrentEncoder
from transformer.training.devices import data_mesh

tokens = np.random.default_rng(0).integers(0, 9, (16, 5)).astype(np.int32)
segments = (np.arange(5) < np.arange(16)[:, None] % 6).astype(np.int32)
mesh = data_mesh(8)
rows, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))

for kind in ("rnn", "lstm", "gru", "mingru"):
    config = schema.Recurrent(kind=kind, layers=1, width=4, hidden=3, bidirectional=True)
    definition, state = nnx.split(RecurrentEncoder(config, vocabulary_size=9, maximum_length=5, pairs=False, rngs=nnx.Rngs(0)))

    @jax.jit
    def step(state, tokens, segments):
        def loss(state):
            states = nnx.merge(definition, state)(tokens, segments, tokens, key=jax.random.key(0))
            return (states ** 2).mean(), states
        return jax.value_and_grad(loss, has_aux=True)(state)

    arguments = jax.device_put(state, everywhere), *jax.device_put((tokens, segments), rows)
    with jax.set_mesh(mesh):
        compiled = step.lower(*arguments).compile()
    assert "all-gather" not in compiled.as_text()  # each device works on its own rows, and only sums are exchanged
    (_, states), gradient = among = compiled(*arguments)
    assert len(jax.tree.leaves(gradient)[0].sharding.device_set) == 8 and not states.sharding.is_fully_replicated
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), among, step(state, tokens, segments))
"""


def test_a_batch_split_among_eight_devices_gives_the_same():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    subprocess.run([sys.executable, "-c", SPLIT_AMONG_DEVICES], check=True, env=environment, timeout=600)
