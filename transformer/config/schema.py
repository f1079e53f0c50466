"""Every setting of a training run, as typed models. An attribute's docstring is its documentation everywhere."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A share of a whole, from 0 up to but not including 1."""
LARGEST_SIZE = 100_000_000
"""More than any machine has room for: of far more, XLA and the tokenizers library make no error, but end the process."""
Size = Annotated[int, Field(gt=0, le=LARGEST_SIZE)]
"""How large an array is."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What a random key is made of: JAX reads 32 bits of it, and takes 2**32 for 0."""


class Section(BaseModel):
    """A mapping in the config file; a key it does not name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, values: Any) -> Any:
        """Let `kind` be left out of a section whose default has one."""
        if not isinstance(values, dict):
            return values
        unions = [name for name, field in cls.model_fields.items() if field.discriminator and not field.is_required()]
        defaults = {name: {"kind": cls.model_fields[name].default.kind} for name in unions}
        return values | {name: defaults[name] | values[name] for name in unions if isinstance(values.get(name), dict)}


# ---------------------------------------------------------------------------------------------------------------- data


class File(Section):
    """One data file."""

    path: str
    """Local path, any fsspec address, or (in a package) the member's path. `outer.tar.gz!inner.txt` reads inside a nested archive."""
    label: str | None = None
    """Label of every row of this file, where the label is the file and not a column."""


class Files(Section):
    """The files of each split, and how a file becomes rows."""

    train: list[File] = Field(min_length=1)
    """Training files."""
    validation: list[File] = []
    """Validation files; where there are none, validation is split off the training rows."""
    test: list[File] = []
    """Test files; where there are none, see `test_fraction`."""
    format: Literal["csv", "tsv", "jsonl", "parquet", "text", "document"] | None = None
    """File format; by default told from the name's ending. `text` has one row a line, in the column `text`; a `document` is one row.
    In tsv a quotation mark is a character like any other."""
    columns: list[str] | None = None
    """Column names of a csv or tsv file that has no header row."""
    skip_rows: NonNegativeInt = 0
    """Rows of a csv or tsv file, after the header, that are not data."""
    encoding: str = "utf-8"
    """Character encoding of csv, tsv, JSON lines, text and document files."""


class FilesSource(Files):
    """Files on this machine or at any fsspec address."""

    kind: Literal["files"] = "files"


class PackageSource(Files):
    """Files inside a published wheel or sdist, which is fetched once, checked and never installed."""

    kind: Literal["package"] = "package"
    package: str
    """Name of the package at the index that pip is configured for."""
    version: str
    """Exact version."""
    file: str
    """Name of the wheel or sdist file."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of that file, as the index publishes it."""


class HubSource(Section):
    """A dataset on the Hugging Face hub."""

    kind: Literal["hub"] = "hub"
    name: str
    """Dataset name, such as `fancyzhx/ag_news`."""
    configuration: str | None = None
    """Name of the dataset's configuration, where it has several."""
    revision: str | None = None
    """Commit or tag; pin it, so that the data cannot change."""
    train: str = "train"
    """Name of the training split."""
    validation: str | None = None
    """Name of the validation split."""
    test: str | None = "test"
    """Name of the test split."""


Source = Annotated[FilesSource | PackageSource | HubSource, Field(discriminator="kind")]


class Data(Section):
    """Which rows there are, and what of each row is used."""

    source: Source
    """Where the rows come from."""
    text: Annotated[list[str], Field(min_length=1, max_length=2)] = ["text"]
    """The text column, or two columns for a pair of texts."""
    label: str | None = "label"
    """The label column (strings or integers); none where `source` labels whole files."""
    label_threshold: float | None = None
    """Turns a column of numbers into the labels `negative` (at or below the threshold) and `positive`."""
    validation_fraction: Fraction = 0.1
    """Share of the training rows, stratified by label, that becomes validation where the source has none."""
    test_fraction: Fraction = 0.0
    """Share of all rows, stratified by label, that becomes test where the source has none."""
    split_seed: NonNegativeInt = 0
    """Seed of these two splits; apart from `seed`, so that every seed is measured on the same rows."""
    deduplicate: bool = False
    """Drop rows whose text stood before, ahead of any split."""
    maximum_length: Annotated[int, Field(ge=4, le=LARGEST_SIZE)] = 256
    """Longest text in tokens, special tokens included; longer texts are cut, or, where their tokens are what is learned, split."""


class TrainedTokenizer(Section):
    """A tokenizer trained on the training split."""

    kind: Literal["wordpiece", "bpe", "unigram", "byte", "character"] = "wordpiece"
    """`byte` is byte-level BPE; `character` suits Chinese."""
    vocabulary_size: Annotated[int, Field(ge=8, le=LARGEST_SIZE)] = 8192
    """Most entries in the vocabulary, special tokens included."""
    lowercase: bool = True
    """Lower the case of every text."""
    minimum_frequency: PositiveInt = 2
    """How often a piece must occur in the training split to be kept."""


class TokenizerFile(Section):
    """An existing tokenizer."""

    kind: Literal["file"] = "file"
    path: str
    """A `tokenizer.json` of the tokenizers library."""


class PretrainedTokenizer(Section):
    """The tokenizer that belongs to the weights of `model.initialize_from`, which is what such a model gets."""

    kind: Literal["pretrained"] = "pretrained"


Tokenizer = Annotated[TrainedTokenizer | TokenizerFile | PretrainedTokenizer, Field(discriminator="kind")]


class Batching(Section):
    """How texts become batches of static shape."""

    tokens: Size = 4096
    """Budget of a batch: rows x length, padding included, over all devices."""
    length_groups: PositiveInt = 8
    """How many lengths batches may have; texts are padded to the next one."""
    row_multiple: Size = 8
    """Every batch has a multiple of this many rows; the number of devices x accumulation must divide it."""


# --------------------------------------------------------------------------------------------------------------- model


class RunWeights(Section):
    """The best weights of a finished run of this project."""

    kind: Literal["run"] = "run"
    path: str
    """The run directory."""


class DirectoryWeights(Section):
    """A directory in the Hugging Face layout: `config.json`, `model.safetensors` and `tokenizer.json`."""

    kind: Literal["directory"] = "directory"
    path: str
    """The directory."""


class HubWeights(Section):
    """A model on the Hugging Face hub."""

    kind: Literal["hub"] = "hub"
    name: str
    """Model name, such as `google-bert/bert-base-uncased`."""
    revision: str | None = None
    """Commit or tag; pin it, so that the weights cannot change."""


class PackageWeights(Section):
    """A model in the Hugging Face layout inside a published wheel or sdist, which is fetched once, checked and never installed."""

    kind: Literal["package"] = "package"
    package: str
    """Name of the package at the index that pip is configured for."""
    version: str
    """Exact version."""
    file: str
    """Name of the wheel or sdist file."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of that file, as the index publishes it."""
    folder: str = ""
    """Folder of `config.json` inside the archive."""


Weights = Annotated[RunWeights | DirectoryWeights | HubWeights | PackageWeights, Field(discriminator="kind")]


class LowRank(Section):
    """LoRA (Hu et al. 2021): the encoder's weights stay as they are, and each matrix gets a low-rank sum that is learned."""

    rank: Size = 8
    """Rank of the sum."""
    alpha: PositiveFloat = 16.0
    """The sum is scaled by alpha / rank."""


Pooling = Literal["first", "mean", "max", "attention", "final_state_attention"]
Precision = Literal["float32", "bfloat16"]


class Encoder(Section):
    """What every encoder has."""

    width: Size = 128
    """Size of the embeddings and of a Transformer's states."""
    layers: PositiveInt = 2
    """Number of layers."""
    dropout: Fraction = 0.1
    """Dropout rate on embeddings, on every sublayer's output and on the pooled text."""
    pooling: Annotated[list[Pooling], Field(min_length=1)] = ["mean"]
    """How a text's states become one vector; several are concatenated. `attention` is additive with a learned query."""
    precision: Precision = "float32"
    """Type of the inputs of matrix products; everything else stays float32."""


class Transformer(Encoder):
    """The Transformer's encoder (Vaswani et al. 2017)."""

    kind: Literal["transformer"] = "transformer"
    heads: PositiveInt = 2
    """Attention heads; must divide the width."""
    feed_forward: Size = 512
    """Inner width of the feed-forward sublayer."""
    norm_position: Literal["pre", "post"] = "pre"
    """Normalize before each sublayer (Xiong et al. 2020), or after its residual sum, as in 2017."""
    norm: Literal["layer", "rms"] = "layer"
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019)."""
    norm_epsilon: PositiveFloat = 1e-6
    """Added to the variance in every norm."""
    embedding_norm: bool = False
    """Normalize the embeddings, as BERT does; they are then not scaled by the root of the width."""
    positions: Literal["sinusoidal", "learned", "rotary", "none"] = "sinusoidal"
    """How order is told: sinusoids (2017), learned (BERT), rotary (Su et al. 2021), or not at all."""
    maximum_positions: Size | None = None
    """How many learned positions there are; `data.maximum_length` by default."""
    token_types: NonNegativeInt | None = None
    """How many kinds of token are told apart (BERT); by default 2 for pairs of texts, and otherwise none."""
    rotary_base: PositiveFloat = 10000.0
    """Base of the rotary positions' wavelengths."""
    local_rotary_base: PositiveFloat | None = None
    """The same for local attention, where it differs."""
    local_window: PositiveInt | None = None
    """Attend only to so many tokens on either side (ModernBERT, Warner et al. 2024)."""
    global_every: PositiveInt = 1
    """Where there is a local window, the first layer and every so many-th from there attend to the whole text nevertheless."""
    bias: bool = True
    """Give linear layers and norms a bias."""
    activation: Literal["relu", "gelu", "gelu_tanh", "geglu", "swiglu"] = "gelu"
    """Feed-forward activation; `geglu` and `swiglu` are gated (Shazeer 2020)."""
    attention_dropout: Fraction = 0.0
    """Dropout rate on attention weights."""
    scan_layers: bool = False
    """Compile one layer and scan over it: right for deep models on accelerators, slower on CPUs."""
    rematerialize: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    head: Literal["linear", "tanh", "relu", "gelu_norm"] = "linear"
    """Classification head: a linear layer, or one with a hidden layer before it, as in BERT and RoBERTa (`tanh`), DistilBERT (`relu`) and
    ModernBERT (`gelu_norm`)."""
    initialize_from: Weights | None = None
    """Start from these weights: they tell the architecture and the tokenizer, and the head is learned anew."""
    frozen_layers: NonNegativeInt | None = None
    """Keep the embeddings and so many layers, from the first, as they are."""
    low_rank: LowRank | None = None
    """Learn low-rank sums only (LoRA), and the head."""

    @model_validator(mode="after")
    def _shapes_fit(self) -> "Transformer":
        if self.width % self.heads:
            fits = [heads for heads in range(1, self.width + 1) if self.width % heads == 0]
            nearest = min(fits, key=lambda heads: abs(heads - self.heads))
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}; heads={nearest} is")
        # Before the weights to start from are read, their number of layers is not known.
        known = self.initialize_from is None or "layers" in self.model_fields_set
        if known and self.frozen_layers is not None and self.frozen_layers > self.layers:
            raise ValueError(
                f"frozen_layers {self.frozen_layers} is more than layers {self.layers}; frozen_layers={self.layers} is all of them"
            )
        if self.positions == "rotary" and (self.width // self.heads) % 2:
            raise ValueError(f"rotary positions need an even head size; width {self.width} / heads {self.heads} is odd")
        if self.positions == "sinusoidal" and self.width % 2:
            raise ValueError(f"sinusoidal positions need an even width, not {self.width}")
        if self.scan_layers and (self.local_window is not None or (self.embedding_norm and self.norm_position == "pre")):
            raise ValueError(
                "scan_layers needs layers that are all alike, which local_window, and embedding_norm with pre-norm, do not give"
            )
        return self


class Recurrent(Encoder):
    """A recurrent network: the plain RNN (Elman 1990), the LSTM (1997), the GRU (2014), or minGRU and minLSTM (2024), parallel in time."""

    kind: Literal["rnn", "lstm", "gru", "mingru", "minlstm"] = "lstm"
    """Which recurrence; those of `mingru` and `minlstm` are computed in parallel along the text."""
    hidden: Size = 128
    """Size of the hidden state of one direction."""
    bidirectional: bool = False
    """Read the text in both directions."""
    intra_attention: bool = False
    """Each token's state looks at all states of its text, by additive attention (Cheng et al. 2016), before pooling."""


class Convolutional(Encoder):
    """A network of gated convolutions (Dauphin et al. 2017)."""

    kind: Literal["convolutional"] = "convolutional"
    hidden: Size = 128
    """Size of a token's state in every layer."""
    kernel_size: Size = 3
    """How many tokens a convolution sees: an odd number, the token and as many to each side."""

    @model_validator(mode="after")
    def _window_has_a_middle(self) -> "Convolutional":
        if self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size {self.kernel_size} is even, so that the window has no middle; kernel_size={self.kernel_size + 1} is odd"
            )
        return self


Model = Annotated[Transformer | Recurrent | Convolutional, Field(discriminator="kind")]

# ------------------------------------------------------------------------------------------------------------ training


class Classification(Section):
    """Predict the label: cross-entropy over the classes."""

    kind: Literal["classification"] = "classification"
    label_smoothing: Fraction = 0.0
    """Probability spread evenly over all classes (Szegedy et al. 2016)."""
    token_masking: Fraction = 0.0
    """Share of a training text's tokens replaced by [MASK], drawn anew at each step."""


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
    """Bring texts that belong together near each other, and away from the others of the batch: an encoder to search with."""

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
    """Learning rate at the last step, as a share of the highest."""


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
    """Validation metric that tells the best checkpoint and when to stop early."""
    early_stopping: EarlyStopping | None = None
    """Stop when the metric stops improving."""
    evaluate_every: PositiveInt | None = None
    """Steps between evaluations on validation; an epoch by default."""
    checkpoint_every: PositiveInt | None = None
    """Steps between checkpoints; at every evaluation by default."""
    keep_latest: PositiveInt = 1
    """How many of the latest checkpoints to keep, beside the best."""
    evaluate_test: bool = True
    """Measure the best checkpoint on test at the end; say no while choosing settings, so that test data cannot guide the choice."""
    log_every: PositiveInt = 10
    """Steps between lines of training metrics."""
    wandb_project: str | None = None
    """Also log to this Weights & Biases project."""


class Config(Section):
    """One experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
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
                f"schedule.warmup_steps {self.schedule.warmup_steps} is not below training.maximum_steps {self.training.maximum_steps}"
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
