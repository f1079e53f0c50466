"""A config file says what it means, and every mistake in it is named with its place and its remedy."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.config.document import parse, write
from transformer.config.errors import UsageError
from transformer.config.load import differing_keys, dump_config, load_config
from transformer.config.schema import (
    AdamW,
    Batching,
    Config,
    Data,
    EarlyStopping,
    File,
    FilesSource,
    HubSource,
    Muon,
    PackageSource,
    Recurrent,
    Schedule,
    TokenizerFile,
    TrainedTokenizer,
    Training,
    Transformer,
)

BASE = """\
name: base
data:
  source:
    kind: files
    train: [{path: train.csv}]
    test: [{path: test.csv}]
model:
  width: 64
  heads: 4
  dropout: 0.2
"""

Write = Callable[[str, str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    write_file("base.yaml", BASE)
    return write_file


def message(path: Path | str, *overrides: str) -> str:
    with pytest.raises(UsageError) as raised:
        load_config(path, overrides)
    return str(raised.value)


# ------------------------------------------------------------------------------------------------------------- extends


def test_a_child_keeps_what_it_does_not_say(written: Write) -> None:
    config = load_config(written("child.yaml", "extends: base.yaml\nname: child\nmodel: {width: 32}\n"))
    assert config.name == "child"
    assert config.model == Transformer(width=32, heads=4, dropout=0.2)
    assert config.data.source == FilesSource(train=[File(path="train.csv")], test=[File(path="test.csv")])


def test_a_list_is_replaced_and_not_merged(written: Write) -> None:
    config = load_config(written("child.yaml", "extends: base.yaml\ndata: {source: {train: [{path: a.csv}, {path: b.csv}]}}\n"))
    assert isinstance(config.data.source, FilesSource)
    assert [file.path for file in config.data.source.train] == ["a.csv", "b.csv"]


def test_extends_is_relative_to_the_file_that_says_it(written: Write) -> None:
    written("folder/middle.yaml", "extends: ../base.yaml\nseed: 3\nmodel: {dropout: 0.0}\n")
    config = load_config(written("leaf.yaml", "extends: folder/middle.yaml\nseed: 4\n"))
    assert (config.seed, config.model.dropout, config.model.width) == (4, 0.0, 64)


def test_a_new_kind_leaves_behind_the_keys_that_it_does_not_have(written: Write) -> None:
    child = written("child.yaml", "extends: base.yaml\nmodel: {kind: lstm, hidden: 96}\n")
    assert load_config(child).model == Recurrent(kind="lstm", width=64, hidden=96, dropout=0.2)
    assert load_config(child, ["model.kind=transformer"]).model == Transformer(width=64, dropout=0.2)
    assert load_config(child, ["model.kind=gru"]).model == Recurrent(kind="gru", width=64, hidden=96, dropout=0.2)


@pytest.mark.parametrize(
    ("settings", "section"),
    [
        (["model.hidden=64", "model.kind=lstm"], "model"),
        (["optimizer.momentum=0.9", "optimizer.kind=muon"], "optimizer"),
        (["tokenizer.path=tokenizer.json", "tokenizer.kind=file"], "tokenizer"),
        (["data.source.name=someone/texts", "data.source.test=validation", "data.source.kind=hub"], "data"),
    ],
)
def test_what_only_the_new_kind_has_may_stand_before_the_kind(written: Write, settings: list[str], section: str) -> None:
    path = written("a.yaml", BASE)
    before, after = load_config(path, settings), load_config(path, settings[::-1])
    assert getattr(before, section) == getattr(after, section)


def test_what_only_the_new_kind_has_may_stand_in_the_base(written: Write) -> None:
    written("base.yaml", BASE.replace("heads: 4", "hidden: 32"))
    child = written("child.yaml", "extends: base.yaml\nmodel: {kind: lstm}\n")
    assert load_config(child).model == Recurrent(kind="lstm", width=64, hidden=32, dropout=0.2)


def test_a_key_that_the_new_kind_lacks_too_is_unknown_wherever_it_stands(written: Write) -> None:
    path = written("a.yaml", BASE)
    for settings in (["model.kernel_size=5", "model.kind=lstm"], ["model.kind=lstm", "model.kernel_size=5"]):
        assert "unknown key model.kernel_size, which only model.kind convolutional has" in message(path, *settings)
    assert "override model.hiden=5: unknown key model.hiden; did you mean hidden?" in message(path, "model.hiden=5", "model.kind=lstm")


def test_a_key_of_the_same_name_but_another_meaning_is_left_behind(written: Write) -> None:
    config = load_config(written("child.yaml", "extends: base.yaml\ndata: {source: {kind: hub, name: someone/texts}}\n"))
    assert config.data.source == HubSource(name="someone/texts")


def test_a_mistake_in_the_base_is_not_left_behind(written: Write) -> None:
    written("base.yaml", BASE.replace("width", "widht"))
    assert "base.yaml:8: unknown key model.widht" in message(written("child.yaml", "extends: base.yaml\nmodel: {kind: lstm}\n"))


def test_files_that_extend_each_other_are_named(written: Write) -> None:
    written("a.yaml", "extends: b.yaml\n")
    text = message(written("b.yaml", "extends: a.yaml\n"))
    assert "a.yaml:1" in text
    assert "extends itself, by way of b.yaml and a.yaml" in text


# ----------------------------------------------------------------------------------------------------------- overrides


def test_overrides_are_typed_as_in_the_file(written: Write) -> None:
    path = written("a.yaml", BASE + "training: {early_stopping: {patience: 5}}\n")
    overrides = ["model.layers=4", "training.early_stopping=null", "data.text=[title, body]", "optimizer.learning_rate=1e-4", "name=run=2"]
    with pytest.raises(UsageError, match="override name=run=2: name should be text that matches"):
        load_config(path, overrides)
    config = load_config(path, overrides[:-1])
    assert (config.model.layers, config.training.early_stopping, config.data.text) == (4, None, ["title", "body"])
    assert config.optimizer.learning_rate == 1e-4
    assert load_config(path, ["training.early_stopping.patience=7"]).training.early_stopping == EarlyStopping(patience=7)


def test_the_last_override_holds(written: Write) -> None:
    assert load_config(written("a.yaml", BASE), ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.layers=two", "override model.layers=two: model.layers should be a whole number, not 'two'"),
        ("model.layer=2", "override model.layer=2: unknown key model.layer; did you mean layers?"),
        ("model.bidirectional=true", "unknown key model.bidirectional, which only model.kind rnn or lstm or gru or mingru or minlstm has"),
        ("model.kernel_size=3", "override model.kernel_size=3: unknown key model.kernel_size, which only model.kind convolutional has"),
        ("model.hidden=2", "key model.hidden, which only model.kind rnn or lstm or gru or mingru or minlstm or convolutional has"),
        ("seed", "override seed: an override is written key=value"),
        ("=3", "override =3: an override is written key=value"),
        ("model..layers=3", "an override is written key=value"),
        ("data.text=[a", "override data.text=[a: not valid YAML"),
        ("data.source.train=[{path:", "; an override that holds spaces is put in quotes"),
        ("data.text.0=a", "override data.text.0=a: data.text should be a list, not a section"),
        ("data.label=#tag", "what begins with # is a comment in YAML; put it in quotes of its own: data.label='\"#tag\"'"),
        ("model.layers.x=3", "model.layers should be a whole number, not a section"),
    ],
)
def test_a_wrong_override_is_named_and_not_a_line(written: Write, override: str, expected: str) -> None:
    assert expected in message(written("a.yaml", BASE), override)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.text=[1, b]", "data.text[0] should be text, not 1; put it in quotes"),
        ("data.source.test=[{path: 3}]", "data.source.test[0].path should be text, not 3; put it in quotes"),
        ("data.source.test=[{label: x}]", "data.source.test[0].path is missing: Local path"),
        ("model={width: x}", "model.width should be a whole number, not 'x'"),
        ("data.source.train=x.csv", "data.source.train should be a list, not 'x.csv'; write [{path: x.csv}]"),
        (
            "data.source.train=[x.csv]",
            "data.source.train[0] should be a section with keys of its own, not 'x.csv'; write {path: x.csv}",
        ),
        (
            "data.source.train[0].path=x.csv",
            "unknown key data.source.train[0]; a list is overridden whole: 'data.source.train=[{path: x.csv}]'",
        ),
        ("data.source.test[1]=x.csv", "unknown key data.source.test[1]; a list is overridden whole: 'data.source.test=[{path: x.csv}]'"),
        ("data.source.columns[0]=x", "unknown key data.source.columns[0]; a list is overridden whole: 'data.source.columns=[x]'"),
        ("data.source.test=", "data.source.test should be a list, not null; write []"),
        ("data.text=null", "data.text should be a list, not null"),
        ("model=null", "model should be a section with keys of its own, not null"),
        (
            "objective=contrastive",
            "objective should be a section with keys of its own, not 'contrastive'; write objective.kind=contrastive",
        ),
        ("model=lstm", "model should be a section with keys of its own, not 'lstm'; write model.kind=lstm"),
        ("schedule=linear", "schedule should be a section with keys of its own, not 'linear'; write schedule.kind=linear"),
        ("extends=other.yaml", "extends belongs in a config file, not in an override; "),
    ],
)
def test_a_mistake_inside_an_override_is_named_and_not_a_line(written: Write, override: str, expected: str) -> None:
    path = written("a.yaml", BASE.replace("data:", "data:\n  text: [a, b]"))
    (line,) = message(path, override).splitlines()
    assert line.startswith(f"override {override}: {expected}")


def test_a_line_whose_value_was_replaced_is_not_blamed(written: Write) -> None:
    child = written("child.yaml", "extends: base.yaml\ndata: {source: {test: [{label: x}]}}\n")
    assert f"{child}:2: data.source.test[0].path is missing" in message(child)
    away_and_back = ["data.source=null", "data.source.kind=files"]
    assert "override data.source.kind=files: data.source.train is missing" in message(child, *away_and_back)


def test_a_line_is_still_blamed_where_its_value_holds(written: Write) -> None:
    path = written("a.yaml", BASE.replace("width: 64", "width: x"))
    assert message(path, "model={heads: 2}") == f"{path}:8: model.width should be a whole number, not 'x'"


# ------------------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("batching:\n  token: 4", ":12: unknown key batching.token; did you mean tokens?"),
        ("trainng: {}", ":11: unknown key trainng; did you mean training?"),
        ("learning_rate: 1", ":11: unknown key learning_rate; did you mean optimizer.learning_rate?"),
        ("zzz: 1", ":11: unknown key zzz; valid are name, seed, data"),
        ("optimizer: {kind: muom}", "optimizer.kind should be one of adamw, muon, not 'muom'; did you mean muon?"),
        ("optimizer: {kind: adamw, momentum: 0.9}", "unknown key optimizer.momentum, which only optimizer.kind muon has"),
        ("schedule: {kind: cosin}", "schedule.kind should be one of constant, linear, cosine"),
        ("schedule: {final_fraction: 1}", "schedule.final_fraction should be below 1.0, not 1"),
        ("schedule: {decay_fraction: 0}", "schedule.decay_fraction should be above 0.0, not 0"),
        ("schedule: {decay_fraction: 2}", "schedule.decay_fraction should be at most 1.0, not 2"),
        ("schedule: 3", "schedule should be a section with keys of its own, not 3"),
        ("schedule:", "schedule should be a section with keys of its own, not null"),
        ("optimizer:", "optimizer should be a section with keys of its own, not null"),
        ("tokenizer: {lowercase: yes}", "tokenizer.lowercase should be true or false, not 'yes'"),
        ("tokenizer: {vocabulary_size: 4}", "tokenizer.vocabulary_size should be at least 8, not 4"),
        ("tokenizer: {kind: file}", "tokenizer.path is missing: A `tokenizer.json`"),
        ("training: {epochs: .inf}", "training.epochs should be a finite number, not inf"),
        ("training: {epochs: 1_000}", "training.epochs should be a number, not '1_000'"),
        ("seed: 1.0", "seed should be a whole number, not 1.0"),
        ("seed: true", "seed should be a whole number, not true"),
        ("seed: [1, 2]", "seed should be a whole number, not a list of 2"),
        ("tokenizer: {kind: file, path: 3}", "tokenizer.path should be text, not 3; put it in quotes"),
        ("training: {accumulation: 3}", "training.accumulation 3 does not divide batching.row_multiple 8; set batching.row_multiple=24"),
        ("model:\n  width: 1", ":11: model stands twice, first at "),
        ("1: 2", ":11: unknown key 1"),
        ("[a]: 2", ":11: a key should be text"),
        ("seed: 1: 2", ":11: not valid YAML"),
        ("seed: !!python/name:os.system x", ":11: not valid YAML"),
        ("seed: !!bool maybe", ":11: 'maybe' does not fit its tag tag:yaml.org,2002:bool; leave the tag out"),
        ("seed: !!timestamp foo", ":11: 'foo' does not fit its tag"),
        ("seed: &again [*again]", "nested without end"),
        ("seed: " + "9" * 5000, "not valid YAML"),
        ("<<: {seed: 1}", ":11: unknown key <<"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_remedy(written: Write, lines: str, expected: str) -> None:
    text = message(written("wrong.yaml", BASE + lines + "\n"))
    assert expected in text
    assert "wrong.yaml" in text


def test_mistakes_in_lists_and_in_sections_that_do_not_fit(written: Write) -> None:
    path = written("a.yaml", BASE)
    assert "model: width 64 is not divisible by heads 7; heads=8 is" in message(path, "model.heads=7")
    assert "data.source.train[1].pth; did you mean path?" in message(path, "data.source.train=[{path: a}, {path: b, pth: c}]")
    assert "frozen_layers 5 is more than layers 4" in message(path, "model.layers=4", "model.frozen_layers=5")
    kinds = "first, mean, max, attention, final_state_attention"
    assert f"model.pooling[0] should be one of {kinds}, not 'maen'; did you mean mean?" in message(path, "model.pooling=[maen]")
    assert "data.text should be a list of at most 2" in message(path, "data.text=[a, b, c]")
    assert "data.text should be a list of at least 1" in message(path, "data.text=[]")
    assert "data.text should be a list, not 'a'; write [a]" in message(path, "data.text=a")
    assert "data.source.kind is missing; it should be one of files, package, hub" in message(
        path, "data={source: {}}", "data.source=null", "data.source.name=x"
    )


def test_objectives_that_do_not_fit_the_rest(written: Write) -> None:
    path, masked = written("a.yaml", BASE), "objective.kind=masked_language_model"
    needs_classes = "training.metric macro_f1 needs classes, which objective.kind={} has not; set training.metric=loss"
    assert needs_classes.format("masked_language_model") in message(path, masked, "training.metric=macro_f1")
    assert needs_classes.format("contrastive") in message(path, "objective.kind=contrastive", "training.metric=macro_f1")
    assert "not one of kind lstm; set model.kind=transformer" in message(path, masked, "model={kind: lstm}")
    assert "one text a row, not a pair; set data.text=[a]" in message(path, masked, "data.text=[a, b]")


def test_every_mistake_is_reported_at_once(written: Write) -> None:
    text = message(written("a.yaml", BASE + "seed: -1\nfoo: 1\n"), "model.layers=0")
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- a\n- b\n", "text", "null"])
def test_a_file_that_is_no_mapping(written: Write, text: str) -> None:
    assert "the file holds no settings" in message(written("a.yaml", text))


def test_what_cannot_be_read_is_named_with_the_nearest_file(written: Write, tmp_path: Path) -> None:
    child = written("child.yaml", "name: a\nextends: bsae.yaml\n")
    text = message(child)
    assert f"{child}:2: extends: cannot read config file {tmp_path / 'bsae.yaml'}" in text
    assert f"did you mean {tmp_path / 'base.yaml'}?" in text
    assert "extends should be the path of one file" in message(written("list.yaml", "extends: [base.yaml]\n"))
    assert "cannot read config file" in message(tmp_path)
    assert "cannot read config file" in message("a\0b.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: café".encode("latin-1"))
    assert "is not UTF-8 text" in message(tmp_path / "latin.yaml")
    assert "not valid YAML" in message(written("control.yaml", "name: \x01"))


# ---------------------------------------------------------------------------------------------------------- round trip


TEXT = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["no", "1e-3", "1_0", "0x1", "2026-01-01", "1:30", "~", ".inf", "=", "<<"]
)
SHARE = st.floats(0, 0.99)
POSITIVE = st.integers(1, 10**6)
FILES = st.lists(st.builds(File, path=TEXT, label=st.none() | TEXT.filter(str.strip)), min_size=1, max_size=3)
SOURCES = st.one_of(
    st.builds(FilesSource, train=FILES, test=FILES, columns=st.none() | st.lists(TEXT, max_size=3), encoding=TEXT),
    st.builds(PackageSource, train=FILES, package=TEXT, version=TEXT, file=TEXT, sha256=st.just("0123456789abcdef" * 4)),
    st.builds(HubSource, name=TEXT, configuration=st.none() | TEXT, revision=st.none() | TEXT),
)
CONFIGS = st.builds(
    Config,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", fullmatch=True),
    seed=st.integers(0, 2**32 - 1),
    data=st.builds(Data, source=SOURCES, text=st.lists(TEXT, min_size=1, max_size=2), label_threshold=st.none() | st.floats(-1e9, 1e9)),
    tokenizer=st.builds(TrainedTokenizer, vocabulary_size=st.integers(8, 10**6)) | st.builds(TokenizerFile, path=TEXT),
    batching=st.builds(Batching, tokens=st.integers(10**6, 10**8)),
    model=st.builds(Transformer, dropout=SHARE) | st.builds(Recurrent, kind=st.sampled_from(["rnn", "lstm", "gru"]), hidden=POSITIVE),
    optimizer=st.builds(AdamW, learning_rate=st.floats(1e-300, 1e300)) | st.builds(Muon, momentum=SHARE),
    schedule=st.builds(Schedule, final_fraction=SHARE),
    training=st.builds(Training, early_stopping=st.none() | st.builds(EarlyStopping, patience=POSITIVE)),
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configs") / "config.yaml"


@given(config=CONFIGS)
def test_a_dumped_config_loads_as_the_same_config(scratch: Path, config: Config) -> None:
    scratch.write_text(dump_config(config), encoding="utf-8")
    loaded = load_config(scratch)
    assert loaded == config
    assert differing_keys(loaded, config) == []


@given(
    values=st.dictionaries(
        TEXT,
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        ),
        max_size=4,
    )
)
def test_written_values_read_as_the_same_values(values: dict[str, object]) -> None:
    assert parse(write(values), "here").values == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("010", 10),
        ("+3", 3),
        ("no", "no"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("2026-01-01", "2026-01-01"),
        ("", None),
        ("~", None),
        ("True", True),
    ],
)
def test_plain_scalars_are_read_as_yaml_1_2_reads_them(text: str, value: object) -> None:
    read = parse(f"key: {text}", "here").values["key"]
    assert read == value
    assert type(read) is type(value)


# ----------------------------------------------------------------------------------------------------- differing_keys


def test_differing_keys_names_what_differs_and_what_only_one_has(written: Write) -> None:
    path = written("a.yaml", BASE)
    base = load_config(path)
    assert differing_keys(base, load_config(path, ["seed=1", "data.text=[a]", "training.early_stopping={}"])) == [
        "seed",
        "data.text",
        "training.early_stopping",
        "training.early_stopping.patience",
    ]
    other = differing_keys(base, load_config(path, ["model.kind=lstm"]))
    assert {"model.kind", "model.heads", "model.hidden"} <= set(other)
    assert "model.width" not in other
