"""An exported program computes what the model does, for any number of texts of any length, on every platform it names."""

import dataclasses
import io
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export
from tokenizers import Tokenizer

from transformer.data.tokenization import encode_texts
from transformer.export import predict
from transformer.export.predict import Model
from transformer.export.stablehlo import export_program, export_stablehlo
from transformer.model.parameter_paths import flat

pytestmark = pytest.mark.usefixtures("symbols_are_sizes")
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


def test_an_ensembles_program_gives_the_mean_of_its_members_probabilities(make_run):
    run = make_run({"feed_forward": 32}, objective={"members": 3})
    program = exported(run)
    for shape in SHAPES:
        batch = batch_of(*shape)
        each = jax.nn.softmax(compute(run, batch))
        assert np.ptp(each, axis=0).max() > 0.01
        np.testing.assert_allclose(program(batch), each.mean(axis=0), atol=1e-5)


def script(run, tmp_path):
    """What a person's predict.py answers with."""
    (tmp_path / "out").mkdir()
    export_stablehlo(run, tmp_path / "out", "out")
    return Model(tmp_path / "out")


def unframed(run):
    """The run with a tokenizer that writes nothing around a text, so that an empty one has no tokens at all."""
    tokenizer = Tokenizer.from_str(run.tokenizer.to_str())
    tokenizer.post_processor = None
    return dataclasses.replace(run, tokenizer=tokenizer)


TEXTS = ["the cat purrs", "", "old house " * 30, "fins"]
PAIRS = [("the cat", "barks"), ("", "fins"), ("old", ""), ("", ""), ("a dog", "old house " * 30)]


@pytest.mark.parametrize(
    ("model", "objective", "texts", "change"),
    [
        pytest.param({"feed_forward": 32}, {"members": 3}, TEXTS, None, id="ensemble"),
        pytest.param({"feed_forward": 32, "pooling": ["first", "mean", "max"]}, {}, TEXTS, unframed, id="no frame"),
        pytest.param({"kind": "mingru", "hidden": 16, "layers": 1}, {}, TEXTS, None, id="one length alone"),
        pytest.param({**BERT, "token_types": 2}, {}, PAIRS, None, id="pairs without types of their own"),
    ],
)
def test_the_script_labels_texts_as_the_run_does(make_run, roberta_tokenizer, tmp_path, model, objective, texts, change):
    """Empty texts among others and alone, and texts that are too long."""
    pairs = isinstance(texts[0], tuple)
    changes = {"data": {"text": ["first", "second"]}, "tokenizer": roberta_tokenizer} if pairs else {}
    run = make_run(model, objective=objective, **changes)
    run = change(run) if change else run
    split = encode_texts(run.tokenizer, texts, 24)
    expected = run.predictor(split.lengths)(run.parameters, split)
    answer = script(run, tmp_path)
    found = answer(texts)
    np.testing.assert_allclose([list(line["probabilities"].values()) for line in found], expected, atol=1e-5)
    assert [line["label"] for line in found] == [run.labels[index] for index in expected.argmax(axis=1)]
    empty = next(row for row, text in enumerate(texts) if not "".join(text))
    (alone,) = answer([texts[empty]])
    np.testing.assert_allclose(list(alone["probabilities"].values()), expected[empty], atol=1e-5)
    assert answer([]) == []


def test_the_script_fills_gaps_with_the_likeliest_tokens(make_run, tmp_path):
    run = make_run({"feed_forward": 32}, objective={"kind": "masked_language_model"})
    answer = script(run, tmp_path)
    text = "[MASK] cat purrs" + " [MASK]" * 30  # more than eight gaps, and some that are cut off
    unmasked, filled, empty = answer(["the cat", text, ""])
    assert unmasked == empty == {"gaps": []}
    assert answer([""]) == [{"gaps": []}]
    tokens = jnp.asarray([[*run.tokenizer.encode(text).ids[:23], run.special.separator]], jnp.int32)
    columns = np.flatnonzero(np.asarray(tokens[0]) == run.special.mask)
    assert 8 < len(columns) < text.count("[MASK]")
    batch = {"tokens": tokens, "segments": jnp.ones_like(tokens), "positions": jnp.arange(24)[None], "selected": jnp.asarray(columns)[None]}
    expected = np.asarray(jax.nn.softmax(compute(run, batch)))[0]
    assert len(filled["gaps"]) == len(columns)
    for gap, probabilities in zip(filled["gaps"], expected, strict=True):
        best = np.argsort(-probabilities, kind="stable")[:5]
        assert list(gap) == [run.tokenizer.id_to_token(int(token)) for token in best]
        np.testing.assert_allclose(list(gap.values()), probabilities[best], atol=1e-5)


def test_the_script_makes_vectors_of_texts(make_run, tmp_path):
    run = make_run({"feed_forward": 32}, objective={"kind": "contrastive"})
    answer = script(run, tmp_path)
    vectors = np.array([line["vector"] for line in answer([*TEXTS, *TEXTS * 8])])
    assert vectors.shape == (9 * len(TEXTS), 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, np.tile(vectors[: len(TEXTS)], (9, 1)), atol=1e-5)
    tokens = jnp.asarray([run.tokenizer.encode(TEXTS[0]).ids], jnp.int32)
    batch = {"tokens": tokens, "segments": jnp.ones_like(tokens), "positions": jnp.arange(tokens.size)[None]}
    np.testing.assert_allclose(vectors[:1], compute(run, batch), atol=1e-5)


def test_the_script_reads_lines_as_the_command_does(make_run, roberta_tokenizer, tmp_path, monkeypatch, capsys):
    """Without a byte order mark before the first, and those before a bad one are answered."""
    model = script(make_run(BERT, data={"text": ["first", "second"]}, tokenizer=roberta_tokenizer), tmp_path)
    monkeypatch.setattr(predict, "Model", lambda: model)
    monkeypatch.setattr(sys, "argv", ["predict.py"])
    lines = b'\xef\xbb\xbf["the cat", "purrs"]\r\n["a dog", ""]\nno pair\n["a", "b"]\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    with pytest.raises(SystemExit) as leaving:
        predict.main()
    assert leaving.value.code == 2
    output = capsys.readouterr()
    assert "line 3 of standard input is not a pair" in output.err
    assert len(output.out.splitlines()) == 2


def test_parameters_lie_beside_the_program_and_not_inside_it(make_run, tmp_path):
    run = make_run({"width": 256, "feed_forward": 512})
    export_stablehlo(run, tmp_path, "out")
    with np.load(tmp_path / "parameters.npz") as stored:
        assert sum(stored[name].size for name in stored) == sum(leaf.size for leaf in jax.tree.leaves(run.parameters))
    assert (tmp_path / "program.bin").stat().st_size < 200_000 < (tmp_path / "parameters.npz").stat().st_size
