"""What is computed for a split is in the split's order, and nothing is compiled while it is measured."""

import logging

import jax
import numpy as np
import pytest

from transformer.data.tokenization import SpecialTokens, Split
from transformer.training.devices import data_mesh
from transformer.training.experiment import build_experiment
from transformer.training.prediction import AHEAD, Predictor, fetched

SPECIAL = SpecialTokens(padding=0, unknown=1, first=2, separator=3, mask=4)


def test_results_are_in_the_splits_order_whatever_their_structure_and_every_shape_is_compiled_before():
    """There are texts longer than those of any shape that the training had."""
    lengths = np.random.default_rng(0).permutation(np.arange(30) % 12 + 1)
    split = Split(np.repeat(np.arange(30, dtype=np.int32), lengths), np.cumsum([0, *lengths]), np.zeros(30, np.int32))

    def step(offset, batch):
        return {"first": batch["tokens"][:, 0] + offset, "lengths": (batch["segments"].sum(axis=1), batch["positions"].max(axis=1))}

    predictor = Predictor(step, SPECIAL, ((16, 4), (8, 8)), data_mesh(8))
    predictor.compile(np.int32(100), [split])
    assert predictor.compilations == 3
    found = predictor(np.int32(100), split)
    assert predictor.compilations == 3
    np.testing.assert_array_equal(found["first"], np.arange(100, 130))
    np.testing.assert_array_equal(found["lengths"], (lengths, lengths - 1))


def test_results_are_fetched_while_further_ones_are_dispatched_but_never_many():
    drawn = 0

    def dispatched():
        nonlocal drawn
        for number in range(50):
            drawn += 1
            yield jax.numpy.int32(number)

    for count, result in enumerate(fetched(dispatched()), start=1):
        assert result == count - 1
        assert drawn == min(count + AHEAD, 50)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data": {"text": ["text", "text"]}},
        {"objective": {"kind": "masked_language_model"}},
        {"objective": {"kind": "contrastive"}},
        {"objective": {"kind": "contrastive"}, "data": {"text": ["text", "text"]}},
    ],
    ids=["classification", "pairs", "masked_language_model", "contrastive", "contrastive_pairs"],
)
def test_a_measurement_after_compilation_compiles_nothing(make_config, caplog, changes):
    experiment = build_experiment(make_config(**changes), print)
    evaluator, parameters = experiment.evaluator, experiment.initial().evaluated
    assert set(experiment.measured) == {"validation", "test"}
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        evaluator.compile(parameters, experiment.measured.values())
        assert "XLA compilation" in caplog.text
        caplog.clear()
        for split in experiment.measured.values():
            evaluator(parameters, split)
    assert "XLA compilation" not in caplog.text
