"""The floor under every comparison: word counts and a linear model."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.data.dataset import Dataset
from transformer.data.sources import Text, read_source
from transformer.data.splits import complete_splits
from transformer.training.metrics import scores

INVERSE_STRENGTHS = (1.0, 10.0, 100.0)
"""Values of scikit-learn's `C` (less is more regularisation) that are tried on validation."""


def bag_of_words(config: schema.Config, dataset: Dataset, tell: Callable[[str], None]) -> tuple[dict[str, Any], np.ndarray]:
    """TF-IDF with logistic regression on the whole texts of the config's splits, trained on train, `C` chosen by validation accuracy.

    Words are what scikit-learn takes for words, or, where there are none, whatever stands between spaces; where the config's tokenizer
    splits into characters, single characters and pairs of them are. Term counts are dampened by their logarithm. Returns its figures, and
    the probabilities on test [examples, classes].

    Raises UsageError where there is no validation or no test split.
    """
    if dataset.validation is None or dataset.test is None:
        raise UsageError("a comparison needs validation and test rows; set data.validation_fraction=0.1 and data.test_fraction=0.1")
    splits, _, _ = complete_splits(read_source(config.data, tell), config.data)
    classes = len(dataset.labels)
    start = time.perf_counter()
    characters = {"analyzer": "char", "ngram_range": (1, 2)} if config.tokenizer.kind == "character" else {}
    vectorizer = TfidfVectorizer(sublinear_tf=True, **characters)
    try:
        features = vectorizer.fit_transform(map(_one_text, splits["train"].texts))
    except ValueError:  # not one word of two characters, as in sequences of letters
        vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+")  # noqa: S106 (no password)
        features = vectorizer.fit_transform(map(_one_text, splits["train"].texts))
    validation_features = vectorizer.transform(map(_one_text, splits["validation"].texts))
    search, models = [], []
    for strength in INVERSE_STRENGTHS:
        models.append(LogisticRegression(C=strength, max_iter=1000).fit(features, dataset.train.labels))
        accuracy = scores(_probabilities(models[-1], validation_features, classes), dataset.validation.labels)["accuracy"]
        search.append({"C": strength, "validation_accuracy": accuracy})
    best = int(np.argmax([tried["validation_accuracy"] for tried in search]))
    seconds = time.perf_counter() - start
    probabilities = _probabilities(models[best], vectorizer.transform(map(_one_text, splits["test"].texts)), classes)
    figures = {
        "C": INVERSE_STRENGTHS[best],
        "search": search,
        "seconds": seconds,
        "terms": "characters" if characters else "words",
        "features": len(vectorizer.vocabulary_),
        "validation": scores(_probabilities(models[best], validation_features, classes), dataset.validation.labels),
        "test": scores(probabilities, dataset.test.labels),
    }
    return figures, probabilities


def _probabilities(model: LogisticRegression, features: scipy.sparse.csr_matrix, classes: int) -> np.ndarray:
    """[examples, classes]; 0 for a class without a training row, of which the model has no column."""
    probabilities = np.zeros((features.shape[0], classes))
    probabilities[:, model.classes_] = model.predict_proba(features)
    return probabilities


def _one_text(text: Text) -> str:
    return text if isinstance(text, str) else " ".join(text)
