"""A comparison of models: which trainings it needs, what they reached, and what follows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transformer.config import schema
from transformer.config.comparison import Comparison
from transformer.config.errors import UsageError
from transformer.config.load import differing_keys, keys_set_by, load_config
from transformer.data.dataset import Dataset, load_dataset
from transformer.evaluation.bag_of_words import bag_of_words
from transformer.evaluation.comparison_figures import FLOOR, chosen_figures, data_figures, floor_figures, pair_figures
from transformer.evaluation.comparison_trainings import Train, train_rival
from transformer.evaluation.fairness import require_one_size
from transformer.evaluation.machine import provenance
from transformer.training.initialization import complete_config
from transformer.training.metrics import scores
from transformer.training.models import abstract_model, count_parameters

MAY_DIFFER = (
    "name",
    "seed",
    "model.",
    "optimizer.",
    "schedule.",
    "objective.token_masking",
    "objective.label_smoothing",
    "training.average_decay",
    "batching.tokens",
)
"""What rivals may differ in, so that each is trained at its best: these keys, and those that begin so, but not the embeddings' width."""

IN_STEPS = {
    "maximum_steps": "say by training.epochs how long, with training.maximum_steps=null",
    "evaluate_every": "evaluate once an epoch, with training.evaluate_every=null",
}
"""Keys of `training` that mean more texts to a rival with larger batches, and what is equal for all."""

NO_SETTINGS = {
    "name": "it follows from the comparison's name",
    "seed": "write the seeds of all under seeds:",
    "optimizer.learning_rate": "write the rates that all try under learning_rates:",
    "training.evaluate_test": "all are tested once, at the end",
}
"""What the comparison decides for all rivals, and where."""


def load_rivals(comparison: Comparison, beside: Path, tell: Callable[[str], None]) -> dict[str, schema.Config]:
    """The rivals' configs, each with the comparison's settings; test data are not read in training.

    Weights to start from that are elsewhere are fetched.

    Raises UsageError for a config that is wrong or not of a classifier, and for rivals that do not have the same data, tokens and epochs.
    """
    rivals = {}
    _refuse_what_has_no_effect("settings", comparison.settings)
    for name, rival in comparison.rivals.items():
        _refuse_what_has_no_effect(f"rivals.{name}.settings", rival.settings)
        settings = [*comparison.settings, *rival.settings, f"name={comparison.name}/{name}", "training.evaluate_test=false"]
        config = load_config(beside / rival.config, settings)
        if not isinstance(config.objective, schema.Classification):
            raise UsageError(
                f"{name} is no classifier: its objective is {config.objective.kind}; a comparison counts right labels, so name a config "
                f"with objective.kind=classification as rivals.{name}.config (it may start from other weights: model.initialize_from)"
            )
        rivals[name] = complete_config(config, tell)
    first, *others = rivals
    for name in others:
        keys = differing_keys(rivals[first], rivals[name])
        unequal = [key for key in keys if not key.startswith(MAY_DIFFER) or key == "model.width"]
        if unequal:
            raise UsageError(
                f"a comparison would not be fair: {first} and {name} differ in {', '.join(unequal)}; set that for all, under settings:"
            )
        in_steps = [remedy for key, remedy in IN_STEPS.items() if getattr(rivals[name].training, key) is not None]
        if "batching.tokens" in keys and in_steps:
            raise UsageError(
                f"a comparison would not be fair: {first} and {name} differ in batching.tokens, so that as many steps are not as many "
                f"epochs; {', and '.join(in_steps)}, under settings:"
            )
    return rivals


def _refuse_what_has_no_effect(place: str, settings: Sequence[str]) -> None:
    for setting in settings:
        for key in keys_set_by(setting):
            if remedy := NO_SETTINGS.get(key):
                raise UsageError(f"{place}: {setting} would set {key} without effect; {remedy}")


def run_comparison(
    comparison: Comparison, rivals: dict[str, schema.Config], output: Path, train: Train, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Train what is missing, choose each rival's learning rate on validation, test once, and put all figures together (report.json).

    Raises UsageError where rivals are unequal in size, or the data have no validation or test rows.
    """
    some = next(iter(rivals.values()))
    dataset = load_dataset(some, tell)
    parameters = _parameters(rivals, dataset)
    tell(f"fitting {FLOOR}")
    floor, floor_probabilities = bag_of_words(some, dataset, tell)
    target = comparison.target_accuracy or floor["validation"]["accuracy"]
    fingerprint = dataset.fingerprint
    for name, config in rivals.items():
        if load_dataset(config, tell).fingerprint != fingerprint:
            raise UsageError(
                f"a comparison would not be fair: {next(iter(rivals))} and {name} do not read the same tokens; start them from weights "
                "with one tokenizer"
            )
    chosen = {name: train_rival(comparison, config, fingerprint, output, train, tell) for name, config in rivals.items()}

    # Only now, all choices made, are the test rows read.
    assert dataset.test is not None
    labels = np.asarray(dataset.test.labels)
    probabilities = {name: [training.test_predictions(tell) for training in rival.trainings] for name, rival in chosen.items()}
    figures = [
        {
            "name": name,
            "family": rivals[name].model.family,
            "description": comparison.rivals[name].description,
            "parameters": parameters[name],
            "settings": ", ".join(comparison.rivals[name].settings),
            **chosen_figures(chosen[name], [scores(predicted, labels) for predicted in probabilities[name]], dataset, target),
        }
        for name in rivals
    ]
    probabilities[FLOOR] = [floor_probabilities]
    correct = {name: np.stack([predicted.argmax(1) == labels for predicted in each]) for name, each in probabilities.items()}
    return {
        "kind": "comparison",
        "name": comparison.name,
        **provenance(),
        "data": data_figures(some, dataset),
        "budget": {
            "epochs": some.training.epochs,
            "may_end_early": some.training.maximum_steps is not None or some.training.early_stopping is not None,
            "seeds": comparison.seeds,
            "learning_rates": comparison.learning_rates,
        },
        "target_accuracy": target,
        "rivals": [*figures, floor_figures(floor)],
        "pairs": pair_figures(correct),
    }


def _parameters(rivals: dict[str, schema.Config], dataset: Dataset) -> dict[str, dict[str, int]]:
    """Each rival's numbers of parameters; raises UsageError where they are not of one size."""
    counted = {name: count_parameters(abstract_model(config, dataset.tokenizer, dataset.labels)[1]) for name, config in rivals.items()}
    sizes = {name: parameters["without_embeddings"] for name, parameters in counted.items()}
    require_one_size(sizes, "by model.hidden in a rival's config, for example")
    return counted
