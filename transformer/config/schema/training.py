"""Objectives, optimizers, learning rates, and the loop."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from transformer.config.schema.section import Fraction, Section


class Classification(Section):
    """Predict the label: cross-entropy over the classes."""

    kind: Literal["classification"] = "classification"
    label_smoothing: Fraction = 0.0
    """Probability spread evenly over all classes (Szegedy et al. 2016)."""
    token_masking: Fraction = 0.0
    """Share of a training text's tokens replaced by [MASK], drawn anew at each step."""
    members: PositiveInt = 1
    """Number of models trained side by side, each from first parameters of its own (what `model.initialize_from` gives is the same for
    all); the mean of their probabilities predicts (Lakshminarayanan et al. 2017). `training.gradient_clip` is of all of them together."""


class MaskedLanguageModel(Section):
    """Predict masked tokens from the text around them (BERT, Devlin et al. 2019); labels are not read."""

    kind: Literal["masked_language_model"] = "masked_language_model"
    masking_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    """Share of a row's tokens that are to be predicted, drawn anew at each step; Wettig et al. (2023) find more to be better."""
    replacement: Literal["bert", "mask"] = "bert"
    """What stands for them: 80 % [MASK], 10 % random tokens and 10 % themselves, as in BERT; or [MASK] always."""
    whole_words: bool = False
    """Mask all pieces of a word or none."""


class Contrastive(Section):
    """Bring texts that belong together near each other, and away from the others of the batch: an encoder to search with. Two texts of a
    pair belong together, and labels are not read; single texts do where their labels are the same."""

    kind: Literal["contrastive"] = "contrastive"
    temperature: PositiveFloat = 0.05
    """Cosines are divided by it before the softmax."""


Objective = Annotated[Classification | MaskedLanguageModel | Contrastive, Field(discriminator="kind")]


class Adam(Section):
    """What AdamW and Muon share; biases, norms and embeddings do not decay."""

    learning_rate: PositiveFloat = 1e-3
    """Highest learning rate."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay, times the learning rate."""
    beta1: Fraction = 0.9
    """Decay of the gradient's running mean."""
    beta2: Fraction = 0.999
    """Decay of the squared gradient's running mean."""
    epsilon: PositiveFloat = 1e-8
    """Added to the denominator."""
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Each layer's learning rate as a share of that of the layer above it; the embeddings count as the lowest layer."""
    head_rate: PositiveFloat = 1.0
    """The head's learning rate as a multiple of the encoder's."""


class AdamW(Adam):
    """AdamW (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"


class Muon(Adam):
    """Muon (Jordan et al. 2024) for the encoder's matrices, scaled to AdamW's step (Liu et al. 2025); AdamW for everything else."""

    kind: Literal["muon"] = "muon"
    momentum: Fraction = 0.95
    """Momentum of the matrices."""


Optimizer = Annotated[AdamW | Muon, Field(discriminator="kind")]


class Schedule(Section):
    """The learning rate over the steps."""

    kind: Literal["constant", "linear", "cosine", "inverse_square_root", "warmup_stable_decay"] = "cosine"
    """Shape after warm-up."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which the learning rate rises from 0."""
    decay_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2
    """Share of all steps that `warmup_stable_decay` spends on its decay."""
    final_fraction: Fraction = 0.0
    """Learning rate that `linear`, `cosine` and `warmup_stable_decay` come to one step after the last, as a share of the highest."""


class EarlyStopping(Section):
    """Stop when validation stops improving."""

    patience: PositiveInt = 3
    """How many evaluations in a row may fail to improve on the best."""


class Training(Section):
    """How long, and what is done around each step."""

    epochs: PositiveFloat = 10.0
    """Passes over the training split."""
    maximum_steps: PositiveInt | None = None
    """Stop after this many steps, if that comes before the epochs' end."""
    gradient_clip: PositiveFloat | None = 1.0
    """Largest global norm of the gradient."""
    accumulation: PositiveInt = 1
    """Pieces that a batch is cut into, one after the other, so that less memory is needed."""
    average_decay: Fraction = 0.0
    """Decay of the exponential moving average of the weights, which is then what is evaluated; 0 for none."""
    metric: Literal["accuracy", "macro_f1", "loss"] = "accuracy"
    """Validation metric that decides which checkpoint is best, and when to stop early."""
    early_stopping: EarlyStopping | None = None
    """Stop when the metric stops improving."""
    evaluate_every: PositiveInt | None = None
    """Steps between evaluations on validation; an epoch by default."""
    checkpoint_every: PositiveInt | None = None
    """Steps between checkpoints; at every evaluation by default."""
    keep_latest: PositiveInt = 1
    """How many of the latest checkpoints to keep, beside the best."""
    evaluate_test: bool = True
    """Measure the best checkpoint on test at the end; set it to false while choosing settings: test data must not guide the choice."""
    log_every: PositiveInt = 10
    """Steps between lines of training metrics."""
    wandb_project: str | None = None
    """Also log to this Weights & Biases project."""
