"""The configs of one directory are rivals in a fair comparison: the same data, embeddings and training, and as many parameters."""

import math
from pathlib import Path

import jax
import pytest
from flax import nnx

from transformer.config import schema
from transformer.config.load import load_config
from transformer.model.build import build_classifier
from transformer.model.parameter_paths import names_on_path

CONFIGS = Path(__file__).parents[2] / "configs"
CLASSES = {"newsgroups": 20, "reuters_r8": 8, "movie_snippets": 2, "chinese_reviews": 2}
ENSEMBLES = {"transformer_ensemble"}
"""Several rivals together are no rival."""
RIVALS = {task: sorted({path.stem for path in (CONFIGS / task).glob("*.yaml")} - ENSEMBLES) for task in CLASSES}


def parameters_without_embeddings(config: schema.Config, classes: int) -> int:
    def build() -> nnx.Module:
        return build_classifier(config.model, vocabulary_size=50, classes=classes, maximum_length=8, pairs=False, key=jax.random.key(0))

    leaves = jax.tree_util.tree_flatten_with_path(nnx.state(nnx.eval_shape(build)))[0]
    return sum(math.prod(leaf.shape) for path, leaf in leaves if "embedding" not in names_on_path(path))


@pytest.mark.parametrize("task", CLASSES)
def test_rivals_differ_in_their_model_alone_and_have_equal_parameters(task: str) -> None:
    transformer = load_config(CONFIGS / task / "transformer.yaml")
    expected = parameters_without_embeddings(transformer, CLASSES[task])
    for name in RIVALS[task]:
        config = load_config(CONFIGS / task / f"{name}.yaml")
        assert config.name == f"{task}/{name}"
        assert config.model.width == transformer.model.width
        assert config.model.dropout == transformer.model.dropout
        same = {"name": transformer.name, "model": transformer.model}
        assert config.model_copy(update=same) == transformer
        assert parameters_without_embeddings(config, CLASSES[task]) == pytest.approx(expected, rel=0.05), name
