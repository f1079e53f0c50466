"""Every setting of the study of how models use processors."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from transformer.config.schema import Model, Section


class Subject(Section):
    """A model that is studied."""

    name: str
    """Its name in the report."""
    encoder: Model
    """The model; no dropout takes place."""


class ParallelismStudy(Section):
    """Models of one size, measured and counted at every length; each batch is full of real tokens."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the study; its default directory is `runs/benchmark-NAME`."""
    models: Annotated[list[Subject], Field(min_length=1)]
    """The first of kind `transformer` is the one that the others are held against."""
    lengths: Annotated[list[PositiveInt], Field(min_length=1)] = [32, 128, 512, 2048, 4096]
    """Lengths of the texts in tokens."""
    tokens: PositiveInt | None = 4096
    """Tokens of a batch whose number of texts goes down as their length goes up; `null` for no such batches."""
    batches: list[PositiveInt] = [1, 16]
    """Batches whose number of texts stays the same."""
    most_tokens: PositiveInt = 8192
    """Batches of more tokens are left out."""
    vocabulary_size: PositiveInt = 8192
    """Number of token embeddings."""
    classes: PositiveInt = 20
    """Number of classes."""
    rounds: PositiveInt = 5
    """Alternating rounds in which a step is timed."""
    round_seconds: PositiveFloat = 0.1
    """Least duration of a round."""

    def shapes(self) -> list[tuple[int, int]]:
        """Every (texts, length) of a batch, the shortest texts first."""
        found = {(texts, length) for texts in self.batches for length in self.lengths}
        if self.tokens is not None:
            found |= {(self.tokens // length, length) for length in self.lengths if length <= self.tokens}
        return sorted((shape for shape in found if shape[0] * shape[1] <= self.most_tokens), key=lambda shape: shape[::-1])

    @model_validator(mode="after")
    def _something_to_do(self) -> "ParallelismStudy":
        names = [model.name for model in self.models]
        if double := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two models are named {double[0]}; give each a name of its own")
        if not self.shapes():
            raise ValueError("no batch is left to measure; set most_tokens higher, or batches=[1]")
        return self
