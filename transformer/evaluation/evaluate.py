"""How good a finished run is on a split of its data, or several runs together."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.data.dataset import load_dataset
from transformer.data.sources import Text, read_source
from transformer.data.splits import complete_splits
from transformer.evaluation.bootstrap import paired_bootstrap
from transformer.training.metrics import report
from transformer.training.run import load_run
from transformer.training.run_directory import check_data


@dataclass(frozen=True)
class Prediction:
    """What a run predicts for the examples of a split, in the split's order."""

    directory: str
    names: list[str]
    labels: Int[np.ndarray, " examples"]
    probabilities: Float[np.ndarray, "examples classes"]
    texts_per_second: float
    data: schema.Data
    """Where the examples are from."""
    split: str


def predict_split(directory: str | Path, split_name: str, tell: Callable[[str], None]) -> Prediction:
    """Predict every example of a split with the run's best weights.

    `texts_per_second` holds batching, but neither compilation, which is done for every shape beforehand, nor tokenization, which is cached.

    Raises UsageError where the split does not exist, or where the data are no longer those that the run was trained on.
    """
    run = load_run(directory)
    dataset = load_dataset(run.config, tell)
    check_data(run.directory, dataset.fingerprint, "train again")
    split = dataset.splits.get(split_name)
    if split is None:
        raise UsageError(f"{directory}: its data have no {split_name} split; say --split {' or --split '.join(dataset.splits)}")
    predictor = run.predictor(dataset.train.lengths)
    predictor.compile(run.parameters, [split])
    start = time.perf_counter()
    probabilities = predictor(run.parameters, split)
    seconds = time.perf_counter() - start
    return Prediction(str(directory), dataset.labels, split.labels, probabilities, len(split) / seconds, run.config.data, split_name)


def evaluate(prediction: Prediction) -> dict[str, Any]:
    """The contract's figures of `evaluate.py --output`, with the run, its label names and its speed."""
    figures = report(prediction.probabilities, prediction.labels, prediction.names)
    return {"run": prediction.directory, **figures, "texts_per_second": prediction.texts_per_second}


def average(predictions: list[Prediction]) -> Prediction:
    """What several runs predict together: the mean of their probabilities (a deep ensemble, Lakshminarayanan et al. 2017).

    Raises UsageError where they did not predict the same examples.
    """
    first, *others = predictions
    for other in others:
        _check_same_examples(first, other, "average")
    return Prediction(
        " + ".join(prediction.directory for prediction in predictions),
        first.names,
        first.labels,
        np.mean([prediction.probabilities for prediction in predictions], axis=0),
        1 / sum(1 / prediction.texts_per_second for prediction in predictions),
        first.data,
        first.split,
    )


def compare(prediction: Prediction, baseline: Prediction) -> dict[str, Any]:
    """The paired bootstrap of two runs that predicted the same examples.

    Raises UsageError where their label names, their examples' labels or their texts differ: their figures then are of different tests.
    """
    _check_same_examples(prediction, baseline, "compare")
    difference = paired_bootstrap(
        prediction.labels, prediction.probabilities.argmax(axis=1), baseline.probabilities.argmax(axis=1), len(prediction.names)
    )
    return {"run": baseline.directory, **difference}


def _check_same_examples(prediction: Prediction, other: Prediction, purpose: str) -> None:
    remedy = f"{purpose} runs whose configs have the same data section"
    if prediction.names != other.names:
        odd = sorted(set(prediction.names) ^ set(other.names)) or prediction.names
        shown = ", ".join(odd[:5]) + (", ..." if len(odd) > 5 else "")
        raise UsageError(f"{prediction.directory} and {other.directory} have different labels ({shown}); {remedy}")
    if not np.array_equal(prediction.labels, other.labels):
        counts = f"{len(prediction.labels)} and {len(other.labels)} examples"
        raise UsageError(
            f"{prediction.directory} and {other.directory} were not tested on the same rows ({counts}, in other order or with other "
            f"labels); {remedy}"
        )
    # Each run's data are those that it was trained on: `predict_split` sees to that.
    if _source(prediction) != _source(other) and _texts(prediction) != _texts(other):
        raise UsageError(f"{prediction.directory} and {other.directory} were not tested on the same texts; {remedy}")


def _source(prediction: Prediction) -> schema.Data:
    return prediction.data.model_copy(update={"maximum_length": 0})


def _texts(prediction: Prediction) -> list[Text]:
    splits, _, _ = complete_splits(read_source(prediction.data, lambda _: None), prediction.data)
    return splits[prediction.split].texts
