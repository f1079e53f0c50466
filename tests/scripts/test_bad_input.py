"""Whatever a person gets wrong: exit code 2, one message that names what, where and the remedy, no traceback, nothing written or lost."""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.scripts.tiny import CONFIG, ROWS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("line", "replacement", "words"),
    [
        pytest.param("  layers: 1", "  layer: 1", ["model.layer", "did you mean layers?"], id="unknown key"),
        pytest.param("training:", "trainning:", ["trainning", "did you mean training?"], id="unknown section"),
        pytest.param("  layers: 1", "  layers: two", ["model.layers", "whole number", "two"], id="wrong type"),
        pytest.param("  layers: 1", "  layers: 0", ["model.layers", "above 0"], id="out of range"),
        pytest.param("  kind: wordpiece", "  kind: wordpeace", ["did you mean wordpiece?"], id="unknown kind"),
        pytest.param("name: tiny", "nam: tiny", ["unknown key nam", "did you mean name?", "name is missing"], id="missing key"),
    ],
)
def test_mistakes_in_the_config(work, refuse, line, replacement, words):
    (work / "config.yaml").write_text(CONFIG.replace(line, replacement))
    number = CONFIG.splitlines().index(line) + 1
    refuse([f"config.yaml:{number}: ", *words], "train", "config.yaml")


def test_an_impossible_combination_names_its_section(work, refuse):
    (work / "config.yaml").write_text(CONFIG.replace("heads: 2", "heads: 3"))
    refuse(["config.yaml:18: ", "width 16 is not divisible by heads 3", "heads=2"], "train", "config.yaml")


def test_a_config_that_is_no_yaml(work, refuse):
    (work / "config.yaml").write_text(CONFIG.replace("kind: files", "kind: [files"))
    refuse(["config.yaml:5: not valid YAML"], "train", "config.yaml")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        pytest.param(["model.layrs=2"], ["model.layrs=2", "did you mean layers?"], id="unknown key"),
        pytest.param(["training.epochs=many"], ["training.epochs", "a number", "many"], id="wrong type"),
        pytest.param(["model.layers"], ["key=value"], id="no value"),
        pytest.param(
            ["training.epochs=9", "schedule.warmup_steps=9"],
            ["schedule.warmup_steps 9 is not below the run's 9 steps", "set schedule.warmup_steps="],
            id="more warm-up than epochs have steps",
        ),
        pytest.param(
            ["schedule.warmup_steps=9", "training.maximum_steps=9"],
            ["schedule.warmup_steps 9 is not below training.maximum_steps 9; set schedule.warmup_steps=0 or more training.maximum_steps"],
            id="more warm-up than steps",
        ),
        pytest.param(["seed=4294967296"], ["seed should be below 4294967296"], id="a seed that JAX takes for another"),
        pytest.param(["model.width=1000000000000"], ["model.width should be at most 100000000"], id="a size that ends the process"),
        pytest.param(["model.layers=1000000000"], ["model.layers should be at most 10000"], id="layers that would never be made"),
        pytest.param(
            ["training.epochs=1e10"],
            ["training.epochs 10000000000.0 makes more steps than a run can count", "set training.maximum_steps=2147483647"],
            id="more steps than 32 bits count",
        ),
        pytest.param(["batching.tokens=64"], ["batching.tokens 64", "set batching.tokens=128"], id="batch too small"),
        pytest.param(
            ["training.accumulation=3"], ["does not divide batching.row_multiple", "set batching.row_multiple="], id="accumulation"
        ),
        pytest.param(["data.label=lable"], ["train.csv", "no column 'lable'", "'text', 'label'", "data.label"], id="label column"),
        pytest.param(["data.text=[body]"], ["train.csv", "no column 'body'", "'text', 'label'", "data.text"], id="text column"),
    ],
)
def test_mistakes_on_the_command_line(refuse, overrides, words):
    refuse(words, "train", "config.yaml", *overrides)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        pytest.param("train.csv", None, ["no file train.csv, looked for from the working directory /", "data.source"], id="missing"),
        pytest.param("train.csv", "", ["train.csv is empty; the first line should name the columns"], id="empty file"),
        pytest.param(
            "test.csv",
            "text\na cat\n",
            ["test.csv has no column 'label'; its columns are 'text'; a test file needs labels", "use scripts/predict.py"],
            id="test without labels",
        ),
        pytest.param("train.csv", "text,label\n", ["split train is empty", "data.source.train"], id="empty train"),
        pytest.param("test.csv", "text,label\n,\n", ["split test is empty", "data.source.test"], id="empty test"),
        pytest.param(
            "train.csv", ROWS + "one fish,fish\n", ["one example alone in class 'fish'", "add examples"], id="class with one example"
        ),
        pytest.param("train.csv", "text,label\n" + "a cat,cat\n" * 9, ["all training rows have the label 'cat'"], id="one class"),
        pytest.param(
            "train.csv",
            "text,label\n" + "".join(f"a cat,{row / 7}\n" for row in range(99)),
            ["'0.0', '0.14285714285714285'", " and 79 more; ", "data.label_threshold"],
            id="labels that are measurements",
        ),
        pytest.param("test.csv", ROWS + "a fish,fish\n", ["split test has the label 'fish'", "'cat', 'dog'"], id="unknown label"),
        pytest.param("train.csv", ROWS + "no label,\n", ["row 21 of train.csv has no label"], id="no label"),
        pytest.param("train.csv", ROWS + "a,b,c\n", ["row 21 (line 22) of train.csv has 3 fields"], id="too many fields"),
        pytest.param("train.csv", ROWS.encode() + b"caf\xe9,cat\n", ["row 21 of train.csv", "data.source.encoding"], id="not UTF-8"),
    ],
)
def test_mistakes_in_the_data(work, refuse, file, content, words):
    if content is None:
        (work / file).unlink()
    else:
        (work / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    refuse(words, "train", "config.yaml")


@pytest.mark.parametrize("ending", ["csv.gz", "csv.bz2", "csv.xz", "csv.zst", "parquet"])
def test_a_data_file_that_is_damaged_or_no_such_file_at_all(work, refuse, ending):
    """Compressed files are damaged in their middle, where only reading finds it out."""
    rows = "text,label\n" + "".join(f"{index**9} purrs,cat\n" for index in range(999))
    match ending:
        case "csv.gz":
            content = gzip.compress(rows.encode())
        case "csv.bz2":
            content = bz2.compress(rows.encode())
        case "csv.xz":
            content = lzma.compress(rows.encode())
        case "parquet":
            table = io.BytesIO()
            pq.write_table(pa.table({"text": rows.splitlines(), "label": ["cat"] * 1000}), table)
            content = table.getvalue()
        case _:
            content = b"no file of this kind"
    middle = len(content) // 4
    (work / f"train.{ending}").write_bytes(content[:middle] + bytes(200) + content[middle + 200 :])
    refuse([f"train.{ending}"], "train", "config.yaml", f"data.source.train=[{{path: train.{ending}}}]")


WITHOUT_JAX = """
import contextlib, io, json, runpy, sys
sys.modules["jax"] = None
told = {}
for script, arguments in json.loads(sys.argv[1]).items():
    sys.argv = [script, *arguments]
    with contextlib.redirect_stderr(io.StringIO()) as error:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as leaving:
            told[script] = [leaving.code, error.getvalue()]
print(json.dumps(told))
"""
"""Runs commands where JAX cannot be imported."""


def test_a_mistake_on_the_command_line_is_told_before_jax_is_imported(work):
    (work / "full").mkdir()
    (work / "full" / "file").touch()
    rival = {"config": "config.yaml", "description": "the only one"}
    (work / "comparison.yaml").write_text(json.dumps({"name": "one", "rivals": {"my rival": rival}}))
    mistakes = {
        "train.py": (["config.yaml", "model.layer=2"], "did you mean layers?"),
        "scripts/evaluate.py": (["run", "--output", "none/figures.json"], "no directory"),
        "scripts/compare.py": (["comparison.yaml"], "comparison.yaml:1: rivals.my rival: "),
        "scripts/benchmark.py": (["--output", "train.csv"], "File exists"),
        "scripts/predict.py": (["--probability"], "RUN_DIR"),
        "scripts/export.py": (["run", "full", "--format", "huggingface"], "is not an empty directory"),
        "scripts/retrieve.py": (["run", "--documents", "train.csv", "--query", "cat", "--sums", "none/sums.npy"], "no directory"),
        "scripts/attention_map.py": (["run", "a cat", "--output", "full"], "is not a regular file"),
    }
    commands = {str(ROOT / script): arguments for script, (arguments, _) in mistakes.items()}
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_JAX, json.dumps(commands)],
        env={**os.environ, "GLIBC_TUNABLES": ""},  # set, so that no command starts itself anew to set it
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert set(told) == set(commands)
    for script, (_, words) in mistakes.items():
        code, message = told[str(ROOT / script)]
        assert (code, words in message) == (2, True), message


def test_a_comparison_that_has_no_place_is_refused_before_a_training(work, refuse):
    rivals = {"one": {"config": "config.yaml", "description": "the only one"}}
    (work / "comparison.yaml").write_text(json.dumps({"name": "one", "rivals": rivals, "learning_rates": [0.1], "seeds": [0]}))
    refuse(["--output train.csv: File exists; name another directory"], "compare", "comparison.yaml", "--output", "train.csv")


def test_a_missing_config(refuse):
    refuse(["cannot read config file confg.yaml", "did you mean", "config.yaml"], "train", "confg.yaml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "error: the following arguments are required: CONFIG.yaml\n"),
        (["config.yaml", "--resume", "perhaps"], "'perhaps'"),
        (["config.yaml", "--run_dir", "elsewhere"], "error: unrecognized arguments: --run_dir"),
        (["config.yaml", "--run-dirs=x"], "error: unrecognized arguments: --run-dirs=x\n"),
        (["config.yaml", "--run_dir=x"], "error: unrecognized arguments: --run_dir=x\n"),
        (
            ["config.yaml", "--seed=1", "model.layers=1", "--model.width=8"],
            "; settings have no dashes: seed=1 model.width=8\n",
        ),
    ],
)
def test_mistakes_in_the_options(refuse, arguments, words):
    refuse(["usage: ", words], "train", *arguments)


def test_mistakes_in_the_options_of_a_comparison(refuse):
    refuse(["error: the following arguments are required: CONFIG.yaml\n"], "compare")
    refuse(["settings have no dashes: seeds=[0]\n"], "compare", "config.yaml", "--seeds=[0]")


def test_no_network_for_a_hub_source(refuse):
    """The tests run offline, so the hub cannot be reached."""
    hub = 'data.source={"kind": "hub", "name": "stanfordnlp/imdb"}'
    refuse(["stanfordnlp/imdb", "hub", "network"], "train", "config.yaml", hub)


@pytest.fixture
def package_index(work, monkeypatch):
    """A package index on this machine with one wheel, which holds train.csv; yields the override that names it."""
    wheel = io.BytesIO()
    with ZipFile(wheel, "w") as archive:
        archive.writestr("animals/train.csv", ROWS)
    name = "animals-1.0-py3-none-any.whl"

    class Index(BaseHTTPRequestHandler):
        def do_GET(self):
            body = wheel.getvalue() if self.path.endswith(name) else f'<!DOCTYPE html><a href="/{name}">{name}</a>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/zip" if self.path.endswith(name) else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
        source = {"kind": "package", "package": "animals", "version": "1.0", "file": name, "sha256": "0" * 64}
        yield "data.source=" + json.dumps({**source, "train": [{"path": "animals/train.csv"}]})
        server.shutdown()


def test_a_checksum_that_does_not_match(refuse, package_index):
    refuse(
        ["checksum of animals-1.0-py3-none-any.whl does not match", "data.source.sha256", "discarded"],
        "train",
        "config.yaml",
        package_index,
    )


@pytest.fixture
def finished(work, command, capsys):
    """A finished run in runs/tiny."""
    assert command("train", "config.yaml") == 0
    capsys.readouterr()
    return work / "runs" / "tiny"


def test_a_run_directory_of_another_config(finished, refuse, command):
    """Refused with the keys that differ, unless only harmless ones do."""
    refuse(["runs/tiny", "another config", "model.feed_forward", "--run-dir"], "train", "config.yaml", "model.feed_forward=32")
    assert command("train", "config.yaml", "training.log_every=3") == 0
    refuse(["runs/tiny already holds a run", "--run-dir"], "train", "config.yaml", "--resume", "never")
    refuse(["runs/[a] holds one of [ * ?", "--run-dir"], "train", "config.yaml", "--run-dir", "runs/[a]")
    refuse(["elsewhere", "no run to resume", "--resume"], "train", "config.yaml", "--run-dir", "elsewhere", "--resume", "require")
    (finished.parent / "precious").mkdir()
    (finished.parent / "precious" / "file").write_text("mine")
    refuse(["runs/precious", "not a run directory", "--run-dir"], "train", "config.yaml", "--run-dir", "runs/precious")
    refuse(["train.csv/run could not be written", "Not a directory", "--run-dir"], "train", "config.yaml", "--run-dir", "train.csv/run")


def test_an_ensemble_where_one_model_is_needed(work, command, capsys, refuse):
    """It predicts; what reads the inside of one model refuses it."""
    assert command("train", "config.yaml", "objective.members=2") == 0
    assert command("evaluate", "runs/tiny") == 0
    capsys.readouterr()
    words = ["runs/tiny trained 2 models whose probabilities are averaged", "objective.members=1"]
    (work / "documents.jsonl").write_text('{"id": 1, "title": "a cat", "text": "the cat purrs"}\n')
    refuse(words, "attention_map", "runs/tiny", "a cat", "--output", "map.html")
    refuse(words, "export", "runs/tiny", "elsewhere", "--format", "huggingface")
    refuse(words, "retrieve", "runs/tiny", "--documents", "documents.jsonl", "--query", "cat")
    without = CONFIG.replace("tokenizer:\n  kind: wordpiece\n  vocabulary_size: 64\n", "")
    (work / "next.yaml").write_text(without + "  evaluate_test: false\n")
    start = ["model.initialize_from.kind=run", "model.initialize_from.path=runs/tiny", "--run-dir", "runs/next"]
    refuse(words, "train", "next.yaml", *start)
    refuse(words, "train", "next.yaml", "objective.members=2", *start)


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_directories_that_hold_no_finished_run(work, finished, refuse, name):
    refuse(["runs/other", "not a run directory", "runs/NAME"], name, "runs/other")
    (finished / "summary.json").unlink()
    refuse(["runs/tiny", "has not ended", "train.py"], name, "runs/tiny")


@pytest.mark.parametrize("damaged", ["tokenizer.json", "labels.json", "summary.json"])
def test_a_run_with_a_damaged_file(finished, refuse, damaged):
    (finished / damaged).write_text('{"')
    refuse([f"{damaged} cannot be read", "train again"], "predict", "runs/tiny", "a cat")


def test_a_damaged_checkpoint(finished, refuse, command):
    """Its run is refused to whoever reads it and to whoever resumes it, and resuming goes on once the checkpoint is removed."""
    (checkpoint,) = (finished / "checkpoints").iterdir()
    shutil.rmtree(checkpoint / "parameters")
    refuse([f"{checkpoint} cannot be read", "train again"], "predict", "runs/tiny", "a cat")
    (finished / "summary.json").unlink()
    assert command("train", "config.yaml") == 2
    shutil.rmtree(checkpoint)
    assert command("train", "config.yaml") == 0


def test_hostile_texts_train_and_predict(work, command, capsys):
    """Empty, enormous, all unknown, full of control characters: not one of them stops a training."""
    hostile = [
        "",
        "x" * 100_000,
        "wort " * 20_000,
        "未知 🦆",
        "\x00\x01\x1b[31m\x7f\u200b\u2028",
        "[CLS] [PAD] [MASK]",
        "e" + "\u0301" * 999,
    ]
    rows = [{"text": text, "label": label} for text in hostile for label in ("cat", "dog")]
    (work / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    overrides = ["data.source.train=[{path: train.jsonl}]", "data.source.test=[{path: train.jsonl}]"]
    assert command("train", "config.yaml", *overrides) == 0
    summary = json.loads((work / "runs" / "tiny" / "summary.json").read_text())
    assert summary["test"]["accuracy"] == 0.5
    capsys.readouterr()
    assert command("predict", "runs/tiny", *hostile) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(hostile)
    assert command("evaluate", "runs/tiny") == 0
