import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.config.load import dump_config, load_config
from transformer.data.dataset import load_dataset
from transformer.export.hugging_face import export_hugging_face
from transformer.training.experiment import build_experiment
from transformer.training.initialization import complete_config
from transformer.training.loop import train
from transformer.training.run import load_run


@pytest.fixture(scope="module")
def trained(make_config, tmp_path_factory):
    """A short run of an encoder with settings that are not the default, with low-rank sums in it."""
    directory = tmp_path_factory.mktemp("runs") / "first"
    model = {"activation": "geglu", "norm": "rms", "positions": "learned", "embedding_norm": True, "low_rank": {"rank": 2}}
    train(make_config(model=model, training={"maximum_steps": 3}), directory)
    return directory


def from_run(make_config, trained, **changes):
    """A config that goes on from the run and leaves its architecture out."""
    plain = make_config(**changes)
    weights = schema.RunWeights(path=str(trained))
    model = schema.Transformer.model_validate({"initialize_from": weights, "dropout": 0.5, **changes.get("model", {})})
    without_tokenizer = {name: getattr(plain, name) for name in plain.model_fields_set - {"tokenizer", "model"}}
    return schema.Config.model_validate({**without_tokenizer, "model": model})


def test_a_run_gives_its_architecture_its_tokenizer_and_its_encoder(make_config, trained):
    config = complete_config(from_run(make_config, trained), print)
    model = config.model
    assert (model.width, model.layers, model.activation, model.norm, model.positions) == (16, 1, "geglu", "rms", "learned")
    assert model.maximum_positions == 32
    assert model.dropout == 0.5
    assert model.low_rank is None
    experiment = build_experiment(config, print)
    run = load_run(trained)
    assert experiment.dataset.tokenizer.to_str() == run.tokenizer.to_str()
    ours, theirs = (nnx.to_pure_dict(parameters) for parameters in (experiment.initial().parameters, run.parameters))
    np.testing.assert_array_equal(ours["encoder"]["embedding"]["tokens"], theirs["encoder"]["embedding"]["tokens"])
    query, sums = ours["encoder"]["layers"][0]["attention"]["query"], theirs["encoder"]["layers"][0]["attention"]["query"]
    assert "low_rank" not in query
    merged = sums["weight"] + 8.0 * sums["low_rank"]["down_weight"] @ sums["low_rank"]["up_weight"]
    np.testing.assert_allclose(query["weight"], merged, rtol=1e-5, atol=1e-7)
    assert np.abs(ours["head"]["weight"] - theirs["head"]["weight"]).max() > 0


def first_parameters(config):
    return nnx.to_pure_dict(build_experiment(complete_config(config, print), print).initial().parameters)


def test_a_run_whose_layers_were_scanned_gives_them_one_by_one(make_config, tmp_path):
    scanned = make_config(model={"layers": 2, "scan_layers": True}, training={"maximum_steps": 1})
    train(scanned, tmp_path / "run")
    theirs = nnx.to_pure_dict(load_run(tmp_path / "run").parameters)["encoder"]["layers"]
    ours = first_parameters(from_run(make_config, tmp_path / "run"))["encoder"]["layers"]
    for number in range(2):
        jax.tree.map(lambda ours, theirs, number=number: np.testing.assert_array_equal(ours, theirs[number]), ours[number], theirs)


def test_what_stands_on_the_encoder_comes_along_where_it_fits(make_config, tmp_path):
    train(make_config(model={"head": "tanh"}, training={"maximum_steps": 1}), tmp_path / "run")
    theirs = nnx.to_pure_dict(load_run(tmp_path / "run").parameters)
    same = first_parameters(from_run(make_config, tmp_path / "run"))
    np.testing.assert_array_equal(same["hidden"]["dense"]["weight"], theirs["hidden"]["dense"]["weight"])
    wider = first_parameters(from_run(make_config, tmp_path / "run", model={"pooling": ["mean", "max"]}))
    assert wider["hidden"]["dense"]["weight"].shape == (32, 16)
    other = first_parameters(from_run(make_config, tmp_path / "run", objective={"kind": "masked_language_model"}))
    for parameters in (same, wider, other):
        tokens = parameters["encoder"]["embedding"]["tokens"]
        np.testing.assert_array_equal(tokens, theirs["encoder"]["embedding"]["tokens"])


@pytest.mark.parametrize("layout", ["run", "hugging_face"])
def test_all_members_of_an_ensemble_begin_with_the_weights_each_with_a_head_of_its_own(make_config, tmp_path, layout):
    bert = {"norm_position": "post", "positions": "learned", "embedding_norm": True, "pooling": ["first"], "head": "tanh"}
    train(make_config(model=bert, training={"maximum_steps": 1}), tmp_path / "run")
    run = load_run(tmp_path / "run")
    weights = schema.RunWeights(path=str(run.directory))
    if layout == "hugging_face":
        (tmp_path / "exported").mkdir()
        export_hugging_face(run, tmp_path / "exported", "exported")
        weights = schema.DirectoryWeights(path=str(tmp_path / "exported"))
    config = from_run(make_config, run.directory, model={"initialize_from": weights}, objective={"members": 2, "token_masking": 0.2})
    members = first_parameters(config)["members"]
    theirs = nnx.to_pure_dict(run.parameters)
    assert members.keys() == {0, 1}
    for ours in members.values():
        jax.tree.map(np.testing.assert_array_equal, ours["encoder"], theirs["encoder"])
        np.testing.assert_array_equal(ours["hidden"]["dense"]["weight"], theirs["hidden"]["dense"]["weight"])
        assert np.abs(ours["head"]["weight"] - theirs["head"]["weight"]).max() > 0
    assert np.abs(members[0]["head"]["weight"] - members[1]["head"]["weight"]).max() > 0
    train(config, tmp_path / "ensemble")
    learned = nnx.to_pure_dict(load_run(tmp_path / "ensemble").parameters)["members"]
    query = [member["encoder"]["layers"][0]["attention"]["query"]["weight"] for member in learned.values()]
    assert np.abs(query[0] - query[1]).max() > 0


def test_what_is_stored_with_a_run_is_complete_and_resumes(make_config, trained, tmp_path):
    config = from_run(make_config, trained, training={"maximum_steps": 2})
    train(config, tmp_path / "run")
    stored = load_config(tmp_path / "run" / "config.yaml")
    assert stored == complete_config(config, print)
    assert complete_config(stored, print) == stored
    assert train(config, tmp_path / "run")["steps"] == 2
    run = load_run(tmp_path / "run")
    # What it started from is not needed any more.
    assert load_dataset(run.config, print).tokenizer.to_str() == run.tokenizer.to_str()
    assert str(trained) not in str(run.config.tokenizer)


@pytest.mark.parametrize("layout", ["run", "hugging_face"])
def test_what_has_begun_goes_on_without_the_weights_that_it_started_from(make_config, tmp_path, train_until, layout):
    weights = exported(make_config, tmp_path, "first")
    if layout == "run":
        weights = schema.RunWeights(path=str(tmp_path / "first-run"))
    config = from_run(make_config, tmp_path, model={"initialize_from": weights}, training={"maximum_steps": 4})
    whole = train(config, tmp_path / "whole")
    train_until(2, config, tmp_path / "stopped")
    Path(weights.path).rename(tmp_path / "gone")
    resumed = train(config, tmp_path / "stopped")
    assert resumed["test"] == whole["test"]
    assert train(config, tmp_path / "stopped") == resumed
    ours, theirs = (load_run(tmp_path / name).parameters for name in ("stopped", "whole"))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert load_config(tmp_path / "stopped" / "config.yaml") == load_config(tmp_path / "whole" / "config.yaml")
    model = schema.Transformer(initialize_from=weights, dropout=0.3, frozen_layers=1)
    another = config.model_copy(update={"model": model, "tokenizer": schema.TrainedTokenizer()})
    with pytest.raises(UsageError, match=r"these keys differ: tokenizer\.kind, model\.dropout, model\.frozen_layers"):
        train(another, tmp_path / "stopped")
    with pytest.raises(UsageError, match=r"there is no directory|not a run directory"):
        train(config, tmp_path / "another")


def test_what_has_begun_does_not_heed_what_became_of_the_weights_that_it_started_from(make_config, tmp_path, train_until):
    """Another training's weights lie there by now: what they would decide, nobody asked for."""
    start = make_config(training={"maximum_steps": 1})
    train(start, tmp_path / "first")
    config = from_run(make_config, tmp_path / "first", training={"maximum_steps": 4})
    whole = train(config, tmp_path / "whole")
    train_until(2, config, tmp_path / "stopped")
    (tmp_path / "first").rename(tmp_path / "before")
    train(make_config(model={"width": 32}, training={"maximum_steps": 1}), tmp_path / "first")
    assert train(config, tmp_path / "stopped")["test"] == whole["test"]
    with pytest.raises(UsageError, match=r"these keys differ: seed\n"):
        train(config.model_copy(update={"seed": 1}), tmp_path / "stopped")


def exported(make_config, directory, name, **changes):
    """Weights in the Hugging Face layout, of a short training of a BERT."""
    bert = {"norm_position": "post", "positions": "learned", "embedding_norm": True, "pooling": ["first"], "head": "tanh"}
    train(make_config(model=bert, training={"maximum_steps": 1}, **changes), directory / f"{name}-run")
    (directory / name).mkdir()
    export_hugging_face(load_run(directory / f"{name}-run"), directory / name, name)
    return schema.DirectoryWeights(path=str(directory / name))


def told_at_the_start(config):
    """The lines about weights that a training's beginning tells."""
    told = []
    build_experiment(complete_config(config, told.append), told.append)
    return [line for line in told if "anew" in line or "code" in line]


def test_a_head_that_the_weights_lack_is_told(make_config, tmp_path):
    classifier, language_model = ({"objective": {"kind": kind}} for kind in ("classification", "masked_language_model"))
    weights = {
        "classifier": exported(make_config, tmp_path, "classifier", **classifier),
        "language_model": exported(make_config, tmp_path, "language_model", **language_model),
        "run": schema.RunWeights(path=str(tmp_path / "classifier-run")),
    }

    def told(name, **changes):
        return told_at_the_start(from_run(make_config, tmp_path, **{**changes, "model": {"initialize_from": weights[name]}}))

    for name in ("classifier", "run"):
        assert told(name, **classifier) == []
        (line,) = told(name, **language_model)
        assert line.endswith(" has no head that predicts tokens; it is learned anew")
        assert line.startswith(weights[name].path)
    assert told("language_model", **language_model) == []
    (line,) = told("language_model", **classifier)
    assert "has no hidden layer" in line
    assert told("language_model", objective={"kind": "contrastive"}) == []


def test_code_in_the_config_of_weights_is_told(make_config, tmp_path):
    weights = exported(make_config, tmp_path, "exported")
    path = Path(weights.path) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoModel": "modeling.Own"}}))
    (line,) = told_at_the_start(from_run(make_config, tmp_path, model={"initialize_from": weights}))
    assert line == f"{path} names code of its own (auto_map), which is never run; the weights are read as a plain roberta"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"width": 24}}, "model.width is 24, .* have 16; leave model.width out"),
        ({"data": {"maximum_length": 48}}, "data.maximum_length=32"),
        ({"model": {"scan_layers": True}}, "scan_layers"),
    ],
)
def test_what_the_weights_cannot_be_is_told(make_config, trained, changes, message):
    with pytest.raises(UsageError, match=message):
        complete_config(from_run(make_config, trained, **changes), print)


def test_more_frozen_layers_than_the_weights_have_are_refused(make_config, trained):
    model = schema.Transformer(initialize_from=schema.RunWeights(path=str(trained)), frozen_layers=2)
    with pytest.raises(UsageError, match="model: frozen_layers 2 is more than layers 1; frozen_layers=1 is all of them"):
        complete_config(from_run(make_config, trained).model_copy(update={"model": model}), print)


def test_a_training_that_could_learn_nothing_is_refused(make_config, tmp_path):
    """Without a final norm and without a head, frozen layers are all there is."""
    train(make_config(model={"norm_position": "post"}, training={"maximum_steps": 1}), tmp_path / "run")
    frozen = from_run(make_config, tmp_path / "run", model={"frozen_layers": 1}, objective={"kind": "contrastive"})
    with pytest.raises(UsageError, match=r"no parameter is left to learn: model\.frozen_layers"):
        build_experiment(complete_config(frozen, print), print)


def test_another_tokenizer_is_refused(make_config, trained):
    config = from_run(make_config, trained).model_copy(update={"tokenizer": schema.TrainedTokenizer()})
    with pytest.raises(UsageError, match="leave `tokenizer` out"):
        complete_config(config, print)


def test_a_recurrent_run_is_refused(make_config, trained, tmp_path):
    directory = tmp_path / "recurrent"
    directory.mkdir()
    stored = load_config(trained / "config.yaml").model_copy(update={"model": schema.Recurrent()})
    (directory / "config.yaml").write_text(dump_config(stored))
    with pytest.raises(UsageError, match="kind lstm"):
        complete_config(from_run(make_config, directory), print)
