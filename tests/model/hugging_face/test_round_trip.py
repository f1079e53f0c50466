"""What is written in the layout of an architecture is read back to the last bit; what has no place there is an error with a remedy."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import yaml
from flax import nnx

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.model.build import build_classifier, build_masked_language_model
from transformer.model.hugging_face import read_architecture, read_parameters, write_model

VOCABULARY, CLASSES, LENGTH = 23, 3, 10
SPECIAL = {"padding": 4, "first": 1, "separator": 2}
POST_NORM = {"norm_position": "post", "positions": "learned", "embedding_norm": True, "pooling": ["first"], "maximum_positions": LENGTH}
MODELS = {
    "bert": {**POST_NORM, "head": "tanh", "token_types": 2, "activation": "gelu_tanh", "norm_epsilon": 1e-5},
    "roberta": {**POST_NORM, "head": "tanh", "token_types": 0, "norm_epsilon": 1e-5},
    "distilbert": {**POST_NORM, "head": "relu", "token_types": 0, "activation": "relu", "norm_epsilon": 1e-12},
    "modernbert": {
        "positions": "rotary",
        "embedding_norm": True,
        "bias": False,
        "activation": "geglu",
        "local_window": 3,
        "global_every": 2,
        "rotary_base": 5000.0,
        "local_rotary_base": 100.0,
        "token_types": 0,
        "head": "gelu_norm",
        "pooling": ["mean"],
    },
}
EVERY = pytest.mark.parametrize("name", MODELS)


def config(name, **changes):
    sizes = {"width": 8, "heads": 2, "feed_forward": 24, "layers": 3, "dropout": 0.2, "attention_dropout": 0.1}
    return schema.Transformer(**(sizes | MODELS[name] | changes))


def parameters(model, kind, *, classes=CLASSES, vocabulary=VOCABULARY):
    """The shapes of a model's parameters, filled with numbers of which no two are alike."""
    shape = {"vocabulary_size": vocabulary, "maximum_length": LENGTH, "pairs": False}
    build = build_masked_language_model if kind == "masked_language_model" else partial(build_classifier, classes=classes)
    state = nnx.state(nnx.eval_shape(lambda: build(model, **shape, key=jax.random.key(0))))
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape), jnp.float32), nnx.to_pure_dict(state))


def write(name, kind="classification", **changes):
    model = config(name, **changes)
    state = parameters(model, kind)
    labels = ["a", "b", "c"] if kind == "classification" else []
    return (*write_model(model, state, kind=kind, maximum_length=LENGTH, labels=labels, **SPECIAL), state)


def same(found, state):
    assert jax.tree.structure(found) == jax.tree.structure(state)
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True))


@pytest.mark.parametrize("kind", ["classification", "masked_language_model"])
@EVERY
def test_what_is_written_is_read_back_bit_by_bit(name, kind):
    values, tensors, state = write(name, kind)
    assert values["model_type"] == name
    assert all(tensor.dtype == np.float32 and tensor.flags.c_contiguous for tensor in tensors.values())
    assert same(read_parameters(values, tensors, state), state)
    read = read_architecture(values)
    assert {setting: getattr(config(name), setting) for setting in read} == read


@EVERY
def test_an_encoder_alone_is_read_without_the_prefix_and_leaves_the_head_as_it_was(name):
    values, tensors, state = write(name, "encoder")
    assert not any(tensor.startswith(("bert.", "roberta.", "distilbert.", "model.", "classifier")) for tensor in tensors)
    found = read_parameters(values, tensors, state)
    found.pop("hidden", None)  # the pooler that BERT has beside its encoder
    assert same(found, {"encoder": state["encoder"]})


def test_scanned_layers_are_written_one_by_one():
    values, tensors, stacked = write("bert")
    layers = [stacked["encoder"]["layers"][index] for index in range(3)]
    stacked["encoder"]["layers"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    again = write_model(config("bert"), stacked, kind="classification", maximum_length=LENGTH, labels=["a", "b", "c"], **SPECIAL)
    assert again[0] == values
    assert all(np.array_equal(again[1][name], tensor) for name, tensor in tensors.items())


def test_old_names_and_narrow_types_are_read():
    values, tensors, state = write("bert")
    names = {name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta") for name in tensors}
    old = {names[name]: tensor for name, tensor in tensors.items()}
    assert old.keys() != tensors.keys()
    assert same(read_parameters(values, old, state), state)
    for narrow in (np.float16, jnp.bfloat16):
        found = read_parameters(values, {name: tensor.astype(narrow) for name, tensor in tensors.items()}, state)
        for mine, exact in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
            assert mine.dtype == np.float32
            np.testing.assert_allclose(mine, exact, rtol=1e-2)


def test_rows_beyond_the_vocabulary_and_the_positions_are_left_out():
    values, tensors, _ = write("bert", "masked_language_model")
    smaller = parameters(config("bert", maximum_positions=6), "masked_language_model", vocabulary=20)
    found = read_parameters(values, tensors, smaller)
    np.testing.assert_array_equal(found["encoder"]["embedding"]["tokens"], tensors["bert.embeddings.word_embeddings.weight"][:20])
    np.testing.assert_array_equal(found["encoder"]["embedding"]["positions"], tensors["bert.embeddings.position_embeddings.weight"][:6])
    np.testing.assert_array_equal(found["head"]["bias"], tensors["cls.predictions.bias"][:20])


def test_a_head_for_other_classes_is_left_out_and_the_hidden_layer_kept():
    values, tensors, _ = write("roberta")
    assert read_parameters(values, tensors, parameters(config("roberta"), "classification", classes=5)).keys() == {"encoder", "hidden"}


def test_roberta_counts_positions_from_behind_the_padding_and_folds_its_type_in():
    values, tensors, state = write("roberta")
    assert values["max_position_embeddings"] == LENGTH + SPECIAL["padding"] + 1
    assert not tensors["roberta.embeddings.position_embeddings.weight"][: SPECIAL["padding"] + 1].any()
    tensors["roberta.embeddings.token_type_embeddings.weight"] = np.full((1, 8), 0.5, np.float32)
    found = read_parameters(values, tensors, state)
    np.testing.assert_array_equal(found["encoder"]["embedding"]["positions"], state["encoder"]["embedding"]["positions"] + 0.5)


def test_what_a_file_lacks_or_has_otherwise_is_named():
    values, tensors, state = write("bert")
    lacking = {name: tensor for name, tensor in tensors.items() if name != "bert.encoder.layer.1.output.dense.weight"}
    with pytest.raises(UsageError, match=r"no tensor bert\.encoder\.layer\.1\.output\.dense\.weight"):
        read_parameters(values, lacking, state)
    wider = parameters(config("bert", feed_forward=32), "classification")
    with pytest.raises(UsageError, match=r"intermediate\.dense\.weight .*feed_forward\.inner\.weight \(8, 24\).* \(8, 32\)"):
        read_parameters(values, tensors, wider)
    with pytest.raises(UsageError, match=r"word_embeddings.* \(23, 8\).* \(30, 8\)"):
        read_parameters(values, tensors, parameters(config("bert"), "classification", vocabulary=30))
    with pytest.raises(UsageError, match=r"type bert have no encoder\.final_norm\.bias"):
        read_parameters(values, tensors, parameters(config("bert", norm_position="pre", embedding_norm=True), "classification"))
    with pytest.raises(UsageError, match="tie_word_embeddings"):
        read_parameters(values | {"tie_word_embeddings": False}, tensors, parameters(config("bert"), "masked_language_model"))


@pytest.mark.parametrize(
    ("name", "tensor", "shape", "named"),
    [
        ("modernbert", "model.layers.1.attn.Wqkv.weight", (25, 8), r"layers\.1\.attn\.Wqkv\.weight \(25, 8\) .*1\.attention\.query"),
        ("modernbert", "model.layers.0.mlp.Wi.weight", (31, 8), r"layers\.0\.mlp\.Wi\.weight \(31, 8\) .*0\.feed_forward\.gate"),
        ("roberta", "roberta.embeddings.token_type_embeddings.weight", (1, 16), r"token_type_embeddings\.weight \(1, 16\) .*positions"),
        ("roberta", "roberta.embeddings.token_type_embeddings.weight", (1, 1), r"token_type_embeddings\.weight \(1, 1\) .*positions"),
        ("roberta", "roberta.embeddings.token_type_embeddings.weight", (0, 8), r"token_type_embeddings\.weight \(0, 8\) .*positions"),
        ("bert", "bert.embeddings.word_embeddings.weight", (), r"word_embeddings\.weight \(\) .*encoder\.embedding\.tokens"),
    ],
)
def test_tensors_of_impossible_shapes_are_named(name, tensor, shape, named):
    values, tensors, state = write(name)
    with pytest.raises(UsageError, match=f"{named}.*check that config.json, the tokenizer and the weights are of the same model"):
        read_parameters(values, tensors | {tensor: np.ones(shape, np.float32)}, state)


@pytest.mark.parametrize("kind", [np.int8, bool, np.uint8, ml_dtypes.float8_e4m3fn, np.complex64])
def test_types_that_are_no_plain_floats_are_named(kind):
    values, tensors, state = write("bert")
    name = "bert.encoder.layer.1.output.dense.weight"
    with pytest.raises(UsageError, match=rf"{name} as {np.dtype(kind).name}: they are quantized; take those in float32"):
        read_parameters(values, tensors | {name: np.zeros((8, 24), kind)}, state)


@EVERY
def test_a_language_models_head_is_whole_or_not_there(name):
    """A classifier of ModernBERT's has the greater part of it for another purpose."""
    values, tensors, state = write(name, "masked_language_model")
    head = {"bert": "cls.predictions.", "roberta": "lm_head.", "distilbert": "vocab_", "modernbert": "decoder."}[name]
    own = sorted(tensor for tensor in tensors if tensor.startswith(head))
    assert read_parameters(values, {each: tensor for each, tensor in tensors.items() if each not in own}, state).keys() == {"encoder"}
    for one in own:
        with pytest.raises(UsageError, match=rf"{one} of the weights makes head\."):
            read_parameters(values, tensors | {one: np.ones((3, 3), np.float32)}, state)
    for one in own[len(own) == 1 :]:
        with pytest.raises(UsageError, match=f"no tensor {one}"):
            read_parameters(values, {each: tensor for each, tensor in tensors.items() if each != one}, state)


@EVERY
def test_a_classifier_is_no_language_model(name):
    values, tensors, _ = write(name)
    assert read_parameters(values, tensors, parameters(config(name), "masked_language_model")).keys() == {"encoder"}


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("bert", {"model_type": "t5"}, r"model_type = 't5'.*bert, roberta, distilbert, modernbert"),
        (
            "bert",
            {"model_type": None},
            r"model_type = None.*bert, roberta.*if it is a BERT, write \"model_type\": \"bert\" into config\.json",
        ),
        ("bert", {"quantization_config": {"bits": 4}}, "quantization_config: the weights are quantized; take those in float32"),
        ("bert", {"hidden_act": "swish"}, r"hidden_act = 'swish'.*'gelu'"),
        ("bert", {"position_embedding_type": "relative_key"}, r"position_embedding_type = 'relative_key'.*'absolute'"),
        ("bert", {"is_decoder": True}, "is_decoder = True"),
        ("bert", {"add_cross_attention": True}, "add_cross_attention = True"),
        ("roberta", {"hidden_act": "relu"}, "hidden_act = 'relu'"),
        ("distilbert", {"activation": "tanh"}, "activation = 'tanh'"),
        ("bert", {"hidden_size": "8"}, r"hidden_size = '8', which should be a whole number"),
        ("bert", {"num_hidden_layers": -1}, r"num_hidden_layers = -1, which should be a whole number above 0"),
        ("bert", {"num_attention_heads": 3}, r"config\.json: width 8 is not divisible by heads 3"),
        ("bert", {"hidden_dropout_prob": 1.5}, r"config\.json, hidden_dropout_prob: dropout should be below 1"),
        ("bert", {"type_vocab_size": "2"}, r"config\.json, type_vocab_size: token_types should be a whole number, not '2'"),
        ("roberta", {"layer_norm_eps": "1e-12"}, r"config\.json, layer_norm_eps: norm_epsilon should be a number, not '1e-12'"),
        ("distilbert", {"dropout": None}, r"config\.json, dropout: dropout should be a number, not null"),
        ("modernbert", {"norm_eps": 0}, r"config\.json, norm_eps: norm_epsilon should be above 0.0, not 0"),
        ("modernbert", {"norm_bias": True}, "norm_bias = True"),
        ("modernbert", {"intermediate_size": 20}, "multiples of 8"),
        ("modernbert", {"layer_types": ["sliding_attention"] * 3}, "layer_types"),
        ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_type = 'yarn'"),
        ("modernbert", {"rope_parameters": [1]}, r"rope_parameters = \[1\], which should be an object"),
        ("modernbert", {"local_attention": None}, "local_attention = None, which should be a whole number"),
        ("roberta", {"pad_token_id": None}, "pad_token_id = None, which should be a whole number"),
        ("roberta", {"pad_token_id": -1}, "pad_token_id = -1, which should be a whole number"),
    ],
)
def test_architectures_that_are_not_supported_say_what_is(name, changes, named):
    values, *_ = write(name)
    with pytest.raises(UsageError, match=named):
        read_architecture(values | changes)


def test_a_config_that_lacks_a_size_is_named():
    values, *_ = write("bert")
    values.pop("hidden_size")
    with pytest.raises(UsageError, match="no 'hidden_size'"):
        read_architecture(values)


def test_configs_of_the_librarys_version_4_are_read():
    values, *_ = write("modernbert")
    older = {name: value for name, value in values.items() if name not in {"layer_types", "rope_parameters"}}
    assert read_architecture(older) == read_architecture(values)
    # There, null means the base of the other layers.
    read = read_architecture(older | {"global_rope_theta": 500.0, "local_rope_theta": None})
    assert (read["rotary_base"], read["local_rotary_base"]) == (500.0, 500.0)


@pytest.mark.parametrize(
    ("name", "changes", "remedies"),
    [
        ("bert", {"head": "linear"}, ["model.head=tanh"]),
        ("bert", {"pooling": ["mean"]}, [r"model.pooling=\[first\]"]),
        ("bert", {"embedding_norm": False}, ["model.embedding_norm=true", "scaled"]),
        ("bert", {"bias": False, "norm": "rms", "activation": "swiglu"}, ["norm=layer", "bias=true", "activation=gelu"]),
        ("bert", {"positions": "sinusoidal"}, ["model.positions=learned"]),
        ("distilbert", {"norm_epsilon": 1e-6}, ["model.norm_epsilon=1e-12"]),
        ("modernbert", {"bias": True, "positions": "sinusoidal"}, ["model.positions=rotary", "model.bias=false"]),
        ("modernbert", {"token_types": 2}, ["model.token_types=0"]),
        ("modernbert", {"global_every": None}, ["model.global_every=3"]),
        ("modernbert", {"pooling": ["mean", "max"]}, [r"model.pooling=\[first\]"]),
    ],
)
def test_models_that_have_no_place_there_say_what_to_train(name, changes, remedies):
    with pytest.raises(UsageError) as error:
        write(name, **changes)
    for remedy in remedies:
        assert error.match(remedy)


def test_a_remedy_is_one_that_works():
    changes = {"bias": True, "positions": "sinusoidal", "head": "linear", "norm": "rms", "activation": "gelu", "pooling": ["max"]}
    with pytest.raises(UsageError) as error:
        write("modernbert", **changes)
    remedies = re.findall(r"model\.(\w+)=(\S+)", str(error.value))
    assert remedies
    write("modernbert", **changes | {setting: yaml.safe_load(value) for setting, value in remedies})
