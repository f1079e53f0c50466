"""Every setting of a comparison of models."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, PositiveFloat, model_validator

from transformer.config.schema import Section, Seed


class Rival(Section):
    """A model that takes part."""

    config: str
    """Its config file, relative to the comparison's."""
    description: str
    """A sentence about it, for the report."""
    settings: list[str] = []
    """Settings of this rival alone, such as `model.dropout=0.1` where validation data chose that for it."""


def _directory_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        better = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-") or "rival"
        raise ValueError(
            f"a rival's name is that of a directory too: letters, digits, '.', '_' and '-', a letter or digit first; write {better}"
        )
    return name


class Comparison(Section):
    """Models trained on the same texts, tokens, epochs and search, tested once, and compared."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the comparison; its default directory is `runs/compare-NAME`."""
    rivals: Annotated[dict[Annotated[str, AfterValidator(_directory_name)], Rival], Field(min_length=1)]
    """The models by name, in the report's order; a name is that of a directory, too."""
    settings: list[str] = []
    """Settings of all rivals, such as `training.epochs=4`."""
    learning_rates: Annotated[list[PositiveFloat], Field(min_length=1)] = [1e-3]
    """Tried by every rival with the first seed; the one with the best validation accuracy is taken."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0, 1, 2]
    """Each rival is trained with each, at its learning rate."""
    target_accuracy: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Validation accuracy whose time is measured; by default that of TF-IDF with logistic regression."""

    @model_validator(mode="after")
    def _nothing_counts_twice(self) -> "Comparison":
        # The same run twice would make the interval over seeds narrower than it is.
        for name, values in (("seeds", self.seeds), ("learning_rates", self.learning_rates)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} {values} has one twice; write {name}={list(dict.fromkeys(values))}")
        return self
