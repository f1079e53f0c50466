"""An exported program computes what the model does, for any number of texts of any length, on every platform it names."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx
from jax import export

from transformer.export.stablehlo import export_program, export_stablehlo
from transformer.model.parameter_paths import flat

BERT = {"norm_position": "post", "positions": "learned", "embedding_norm": True, "pooling": ["first"], "head": "tanh"}
SHAPES = [(1, 1), (3, 24)]
MODELS = {
    "pre-norm, scanned": {"scan_layers": True, "feed_forward": 32, "pooling": ["first", "mean", "max", "attention"]},
    "BERT with LoRA": {**BERT, "feed_forward": 32, "low_rank": {"rank": 2}},
    "rotary, local, bfloat16": {
        "positions": "rotary",
        "local_window": 2,
        "global_every": 2,
        "activation": "geglu",
        "precision": "bfloat16",
    },
    "LSTM": {
        "kind": "lstm",
        "hidden": 16,
        "layers": 1,
        "bidirectional": True,
        "intra_attention": True,
        "pooling": ["final_state_attention"],
    },
    "convolutional": {"kind": "convolutional", "hidden": 16},
}


@pytest.fixture(autouse=True)
def symbols_are_sizes():
    """Shape checks know no sizes but numbers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def batch_of(rows, length, *names):
    generator = np.random.default_rng(length)
    segments = (np.arange(length) < generator.integers(1, length + 1, rows)[:, None]).astype(np.int32)
    tokens = generator.integers(0, 30, (rows, length)).astype(np.int32)
    positions = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
    return {"tokens": tokens, "segments": segments, "positions": positions} | dict.fromkeys(names, tokens % 2)


def exported(run):
    parameters = {path: np.asarray(leaf) for path, leaf in flat(nnx.to_pure_dict(run.parameters)).items()}
    program = export.deserialize(export_program(run, parameters).serialize())
    assert set(program.platforms) == {"cpu", "cuda", "tpu"}
    return lambda batch: np.asarray(program.call(parameters, batch))


def compute(run, batch):
    return jax.jit(lambda parameters, batch: nnx.merge(run.graph, parameters)(**batch))(run.parameters, batch)


@pytest.mark.parametrize("name", MODELS)
def test_a_program_gives_the_models_probabilities_for_any_number_and_length_of_texts(make_run, name):
    run = make_run(MODELS[name])
    program = exported(run)
    tolerance = 1e-3 if run.config.model.precision == "bfloat16" else 1e-5
    for shape in SHAPES:
        batch = batch_of(*shape)
        expected = jax.nn.softmax(compute(run, batch))
        np.testing.assert_allclose(program(batch), expected, atol=tolerance)


def test_a_parallel_scan_keeps_the_longest_length(make_run):
    run = make_run({"kind": "mingru", "hidden": 16, "layers": 1})
    program = exported(run)
    batch = batch_of(3, 24)
    np.testing.assert_allclose(program(batch), jax.nn.softmax(compute(run, batch)), atol=1e-5)
    with pytest.raises(ValueError, match="24"):
        program(batch_of(3, 23))


def test_pairs_have_types(make_run):
    run = make_run(BERT, data={"text": ["first", "second"]})
    batch = batch_of(2, 9, "types")
    np.testing.assert_allclose(exported(run)(batch), jax.nn.softmax(compute(run, batch)), atol=1e-5)


def test_a_masked_language_model_tells_the_tokens_of_any_number_of_columns(make_run):
    run = make_run({"feed_forward": 32}, objective={"kind": "masked_language_model"})
    program = exported(run)
    for columns in (1, 3):
        batch = batch_of(2, 9) | {"selected": jnp.arange(2 * columns, dtype=jnp.int32).reshape(2, columns)}
        expected = jax.nn.softmax(compute(run, batch))
        np.testing.assert_allclose(program(batch), expected, atol=1e-5)


def test_a_contrastive_model_gives_unit_vectors(make_run):
    run = make_run({"feed_forward": 32}, objective={"kind": "contrastive"})
    batch = batch_of(2, 9)
    vectors = exported(run)(batch)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors, compute(run, batch), atol=1e-5)


def test_parameters_lie_beside_the_program_and_not_inside_it(make_run, tmp_path):
    run = make_run({"width": 256, "feed_forward": 512})
    export_stablehlo(run, tmp_path, "out")
    with np.load(tmp_path / "parameters.npz") as stored:
        assert sum(stored[name].size for name in stored) == sum(leaf.size for leaf in jax.tree.leaves(run.parameters))
    assert (tmp_path / "program.bin").stat().st_size < 200_000 < (tmp_path / "parameters.npz").stat().st_size
