"""What is handed to cuDNN, which no test here can run: compared with JAX's own reference, and seen in the program for a GPU."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import rnn

from transformer.config import schema
from transformer.model import cudnn
from transformer.model.recurrent import RecurrentEncoder, read

LENGTH, INPUTS, HIDDEN = 7, 5, 3
SEGMENTS = (jnp.arange(LENGTH)[:, None] < jnp.array([7, 4, 1, 0])).astype(jnp.int32)


def reference(x, h, c, weights, lengths, *, input_size, hidden_size, num_layers, dropout, bidirectional):
    """In cuDNN's place: JAX's reference, which reads the same packed weights."""
    unpacked = rnn.unpack_lstm_weights(weights, input_size, hidden_size, num_layers, bidirectional)
    return rnn.lstm_ref(x, h, c, *unpacked, lengths, input_size, hidden_size, num_layers, dropout, bidirectional)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_cudnns_lstm_is_ours(bidirectional, monkeypatch):
    monkeypatch.setattr(rnn, "lstm", reference)
    config = schema.Recurrent(kind="lstm", width=INPUTS, hidden=HIDDEN, layers=1, bidirectional=bidirectional)
    encoder = RecurrentEncoder(config, vocabulary_size=9, maximum_length=LENGTH, pairs=False, rngs=nnx.Rngs(0))
    directions = list(encoder.layers[0])
    for index, direction in enumerate(directions):
        direction.bias[...] = jax.random.normal(jax.random.key(index), direction.bias.shape)
    x = jax.random.normal(jax.random.key(9), (LENGTH, 4, INPUTS))

    @partial(jax.jit, static_argnums=0)
    def outputs_and_gradients(function):
        def real_outputs(directions, x):
            return jnp.where((SEGMENTS != 0)[:, :, None], function(directions, x), 0.0)

        outputs, pullback = jax.vjp(real_outputs, directions, x)
        if not bidirectional:
            return outputs  # the gradients of two directions are enough
        return outputs, pullback(jnp.cos(jnp.arange(outputs.size)).reshape(outputs.shape))

    def by_cudnn(directions, x):
        return cudnn.cudnn_lstm(
            x, SEGMENTS, [(layer.input_weight[...], layer.recurrent_weight[...], layer.bias[...]) for layer in directions]
        )

    theirs, ours = outputs_and_gradients(by_cudnn), outputs_and_gradients(lambda directions, x: read(directions, x, SEGMENTS))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), theirs, ours)


@pytest.mark.parametrize(
    ("row", "alone"),
    [([1, 1, 1, 1], True), ([1, 1, 0, 0], True), ([0] * 4, True), ([0, 1, 1, 1], False), ([1, 1, 2, 2], False), ([1, 0, 1, 1], False)],
)
def test_rows_that_cudnn_cannot_read_are_found(row, alone):
    assert cudnn.texts_start_rows(jnp.array([[1] * 4, row, [1, 0, 0, 0]]).T) == alone


# The extension module that measures and describes cuDNN's work comes with JAX for CUDA; a program can be made for a GPU without running it.
LOWER_FOR_A_GPU = """
import sys, types
kernels = types.ModuleType("jaxlib.cuda._rnn")
kernels.registrations = dict
kernels.compute_rnn_workspace_reserve_space_sizes = lambda *shape: (1, 1)
kernels.build_rnn_descriptor = lambda *shape: ""
package = types.ModuleType("jaxlib.cuda")
package.__path__ = []
package._rnn = kernels
sys.modules |= {"jaxlib.cuda": package, "jaxlib.cuda._rnn": kernels}

import jax, jax.numpy as jnp
from flax import nnx
from transformer.config import schema
from transformer.model.recurrent import RecurrentEncoder

config = schema.Recurrent(kind="lstm", width=4, hidden=3, layers=1, bidirectional=True)
definition, state = nnx.split(RecurrentEncoder(config, vocabulary_size=9, maximum_length=5, pairs=False, rngs=nnx.Rngs(0)))
tokens = jnp.ones((2, 5), jnp.int32)
step = jax.jit(jax.grad(lambda state: nnx.merge(definition, state)(tokens, tokens, tokens).sum()))
assert "cudnn_rnn" not in step.trace(state).lower(lowering_platforms=("cuda",)).as_text()  # no GPU is there
jax.clear_caches()
jax.default_backend = lambda: "gpu"
traced = step.trace(state)
for_gpu, for_cpu = (traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cuda", "cpu"))
assert "cudnn_rnn_ffi" in for_gpu and "cudnn_rnn_bwd_ffi" in for_gpu and "stablehlo.while" in for_gpu
assert "cudnn_rnn" not in for_cpu and "stablehlo.while" in for_cpu
"""


def test_the_program_for_a_gpu_asks_cudnn_and_no_other_does():
    result = subprocess.run([sys.executable, "-c", LOWER_FOR_A_GPU], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
