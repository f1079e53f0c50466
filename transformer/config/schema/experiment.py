"""One experiment: all settings together."""

from typing import Annotated

from pydantic import Field, model_validator

from transformer.config.schema.data import Batching, Data, Tokenizer, TrainedTokenizer
from transformer.config.schema.model import Model, Transformer
from transformer.config.schema.section import Section, Seed
from transformer.config.schema.training import (
    AdamW,
    Classification,
    Contrastive,
    MaskedLanguageModel,
    Objective,
    Optimizer,
    Schedule,
    Training,
)


class Config(Section):
    """One experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")]
    """Name of the run; its default directory is `runs/NAME`."""
    seed: Seed = 0
    """Everything random in training follows from it and from the step."""
    data: Data
    """Texts and labels."""
    tokenizer: Tokenizer = TrainedTokenizer()
    """How a text becomes tokens."""
    batching: Batching = Batching()
    """How tokens become batches."""
    model: Model = Transformer()
    """The encoder."""
    objective: Objective = Classification()
    """What is learned."""
    optimizer: Optimizer = AdamW()
    """How weights are updated."""
    schedule: Schedule = Schedule()
    """The learning rate over the steps."""
    training: Training = Training()
    """How long, and what is done around each step."""

    @property
    def reads_labels(self) -> bool:
        """Whether labels are read: a masked language model does without, and contrastive training where pairs say what belongs together."""
        pairs = len(self.data.text) == 2
        return isinstance(self.objective, Classification) or (isinstance(self.objective, Contrastive) and not pairs)

    @property
    def splits_long_texts(self) -> bool:
        """Whether texts of more than `data.maximum_length` tokens are split into several examples; otherwise they are cut."""
        return isinstance(self.objective, MaskedLanguageModel)

    @model_validator(mode="after")
    def _sections_fit(self) -> "Config":
        if self.batching.row_multiple % self.training.accumulation:
            raise ValueError(
                f"training.accumulation {self.training.accumulation} does not divide batching.row_multiple "
                f"{self.batching.row_multiple}; set batching.row_multiple={self.training.accumulation * 8}"
            )
        least_tokens = self.data.maximum_length * self.batching.row_multiple
        if self.batching.tokens < least_tokens:
            raise ValueError(
                f"batching.tokens {self.batching.tokens} holds fewer than batching.row_multiple {self.batching.row_multiple} rows of "
                f"data.maximum_length {self.data.maximum_length}; set batching.tokens={least_tokens}"
            )
        positions = self.model.maximum_positions if isinstance(self.model, Transformer) else None
        if positions is not None and positions < self.data.maximum_length:
            raise ValueError(
                f"data.maximum_length {self.data.maximum_length} is more than model.maximum_positions {positions}; "
                f"set data.maximum_length={positions}"
            )
        if self.training.maximum_steps is not None and self.schedule.warmup_steps >= self.training.maximum_steps:
            raise ValueError(
                f"schedule.warmup_steps {self.schedule.warmup_steps} is not below training.maximum_steps {self.training.maximum_steps}; "
                f"set schedule.warmup_steps={self.training.maximum_steps // 10} or more training.maximum_steps"
            )
        return self

    @model_validator(mode="after")
    def _objective_fits(self) -> "Config":
        if not isinstance(self.objective, Classification) and self.training.metric == "macro_f1":
            raise ValueError(
                f"training.metric macro_f1 needs classes, which objective.kind={self.objective.kind} has not; set training.metric=loss"
            )
        if isinstance(self.objective, MaskedLanguageModel):
            if not isinstance(self.model, Transformer):
                raise ValueError(
                    f"objective.kind=masked_language_model trains a Transformer's encoder, not one of kind {self.model.kind}; "
                    "set model.kind=transformer"
                )
            if len(self.data.text) == 2:
                raise ValueError(
                    f"objective.kind=masked_language_model reads one text a row, not a pair; set data.text=[{self.data.text[0]}]"
                )
        return self
