"""retrieve.py: documents and queries in, JSON lines out, whatever they are."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from transformer.config import schema
from transformer.data.tokenization import special_tokens
from transformer.data.tokenizer_training import train_tokenizer
from transformer.model.encoder import Encoder
from transformer.model.hugging_face import write_model
from transformer.model.sentence_embedder import SentenceEmbedder
from transformer.search.embedding import EncoderEmbedder
from transformer.training.devices import data_mesh

ROOT = Path(__file__).parents[2]
GOOD = [
    {"id": "fish", "title": "scales fins water", "text": "the small house near water"},
    {"id": 7, "title": "barks leash bone", "text": "seen today: barks"},
    {"id": "猫", "title": "whiskers purrs mouse", "text": "old whiskers 猫"},
]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def answers(output):
    return [json.loads(line) for line in output.split("\n")[:-1]]


@pytest.fixture
def documents(tmp_path):
    (tmp_path / "documents.jsonl").write_bytes(lines(GOOD))
    return tmp_path / "documents.jsonl"


@pytest.fixture
def retrieve(trained, command, documents):
    def run(*arguments, **settings):
        return command("retrieve", trained / "good", "--documents", documents, *arguments, **settings)

    return run


def test_a_query_finds_the_title_that_is_nearest(retrieve, capsys):
    assert retrieve("--query", "scales fins water") == 0
    (answer,) = answers(capsys.readouterr().out)
    assert set(answer) == {"query", "results", "weighted_sum"}
    results = answer["results"]
    assert all(set(result) == {"id", "title", "weight", "cosine"} for result in results)
    assert results[0]["id"] == "fish"
    assert results[0]["cosine"] == pytest.approx(1, abs=1e-4)
    assert {result["id"] for result in results} == {"fish", 7, "猫"}
    assert sum(result["weight"] for result in results) == pytest.approx(1, abs=1e-4)
    assert [result["cosine"] for result in results] == sorted((result["cosine"] for result in results), reverse=True)
    assert set(answer["weighted_sum"]["nearest"]) == {"id", "title", "cosine"}
    assert 0 < answer["weighted_sum"]["norm"] <= 1 + 1e-5


def test_the_index_is_made_once_and_where_it_is_wanted(retrieve, documents, tmp_path, capsys):
    for directory, arguments in ((Path(f"{documents}.index"), []), (tmp_path / "deep" / "index", ["--index", tmp_path / "deep" / "index"])):
        assert retrieve("--query", "cat", *arguments) == 0
        assert str(directory) in capsys.readouterr().err
        assert (directory / "keys.npy").exists()
        assert retrieve("--query", "cat", *arguments) == 0
        assert capsys.readouterr().err == ""


def test_a_changed_file_and_another_model_are_told(trained, command, retrieve, documents, capsys):
    retrieve("--query", "cat")
    assert command("retrieve", trained / "hasty", "--documents", documents, "--query", "cat") == 0
    assert "made with another model" in capsys.readouterr().err
    documents.write_bytes(lines(GOOD[:2]))
    assert command("retrieve", trained / "hasty", "--documents", documents, "--query", "cat") == 0
    output = capsys.readouterr()
    assert "has changed since it was indexed" in output.err
    assert len(answers(output.out)[0]["results"]) == 2


def test_lines_of_standard_input_are_queries(retrieve, tmp_path, capsys):
    queries = ["scales fins water", "barks leash bone\r", "whiskers purrs mouse"]
    assert retrieve("--top", "1", "--sums", tmp_path / "sums.npy", stdin="\n".join(queries * 100).encode()) == 0
    found = answers(capsys.readouterr().out)
    assert [answer["query"] for answer in found[:3]] == ["scales fins water", "barks leash bone", "whiskers purrs mouse"]
    assert [[result["id"] for result in answer["results"]] for answer in found] == [["fish"], [7], ["猫"]] * 100
    sums = np.load(tmp_path / "sums.npy")
    assert np.linalg.norm(sums, axis=1) == pytest.approx([answer["weighted_sum"]["norm"] for answer in found], rel=1e-4)


def test_no_queries_no_answers(retrieve, capsys):
    assert retrieve(stdin=b"") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "holds no documents", id="empty"),
        pytest.param(b"\n \n", "holds no documents", id="blank lines"),
        pytest.param(lines(GOOD) + b"{", "line 4 of .* is not JSON", id="not JSON"),
        pytest.param(lines(GOOD) + b"[" * 99999, "line 4 of .* is not JSON", id="nested without end"),
        pytest.param(lines(GOOD) + b"\n[1]\n", "line 5 of .* is not a JSON object", id="no object"),
        pytest.param(lines([*GOOD, {"title": "a", "text": "b"}]), "line 4 of .* has no id", id="no id"),
        pytest.param(lines([*GOOD, {"id": 1, "text": "b"}]), "line 4 of .* has no title", id="no title"),
        pytest.param(lines([*GOOD, {"id": 1, "title": "a", "text": None}]), "line 4 of .* has no text", id="no text"),
        pytest.param(
            lines([*GOOD, {"id": 1, "title": ["a"], "text": 5}]), "line 4 .* title and its text must be a string", id="no strings"
        ),
        pytest.param(lines([*GOOD, {"id": 1.5, "title": "a", "text": "b"}]), "line 4 .* neither a string nor an integer", id="odd id"),
        pytest.param(lines([*GOOD, GOOD[1]]), "line 4 of .* has the id 7, which stands in line 2 too", id="same id"),
        pytest.param(lines(GOOD) + b'{"id": 1, "title": "caf\xe9", "text": ""}', r"line 4 of .* is not UTF-8 \(byte 24\)", id="not UTF-8"),
        pytest.param(lines(GOOD) + rb'{"id": 1, "title": "\ud800", "text": ""}', "line 4 of .* surrogate", id="half a surrogate pair"),
        pytest.param(b"\x1f\x8b\x08\x00", "line 1 of .* is not UTF-8", id="compressed"),
    ],
)
def test_documents_that_cannot_be_read_are_named(retrieve, documents, capsys, content, message):
    documents.write_bytes(content)
    assert retrieve("--query", "cat") == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(message, error)
    assert not Path(f"{documents}.index").exists()


def test_hostile_documents_are_found(retrieve, documents, capsys):
    """A byte order mark, empty lines, Windows line ends, empty and enormous texts, and control characters."""
    odd = [{"id": "", "title": "", "text": ""}, {"id": "long", "title": "x" * 100_000, "text": "cat " * 50_000}]
    odd.append({"id": "\x00\u2028", "title": "\x1b[31m[CLS]", "text": "\x85\u2029"})
    documents.write_bytes(b"\xef\xbb\xbf" + lines(odd).replace(b"\n", b"\r\n\n") + lines(GOOD).removesuffix(b"\n"))
    assert retrieve("--query", "whiskers purrs mouse") == 0
    (answer,) = answers(capsys.readouterr().out)
    assert {result["id"] for result in answer["results"]} == {"", "long", "\x00\u2028", "fish", 7, "猫"}
    assert answer["results"][0]["id"] == "猫"


@pytest.mark.parametrize("query", ["", " ", b"caf\xe9".decode(errors="surrogateescape")])
def test_a_query_that_says_nothing_is_refused(retrieve, capsys, query):
    assert retrieve("--query", query) == 2
    assert "error: --query is" in capsys.readouterr().err


def test_a_bad_line_is_named_and_those_before_it_are_answered(retrieve, capsys):
    for bad, message in ((b"\n", "line 2 of standard input is empty"), (b"caf\xe9\n", "line 2 of standard input is not UTF-8 (byte 4)")):
        assert retrieve(stdin=b"cat\n" + bad + b"dog\n") == 2
        output = capsys.readouterr()
        assert [answer["query"] for answer in answers(output.out)] == ["cat"]
        assert message in output.err


@pytest.mark.parametrize("top", ["0", "-1", "1.5", "many"])
def test_a_number_of_titles_that_is_none_is_refused(retrieve, capsys, top):
    assert retrieve("--query", "cat", "--top", top) == 2
    assert "is not a whole number from 1" in capsys.readouterr().err


def test_what_is_not_there_is_named(trained, command, retrieve, documents, tmp_path, capsys):
    missing = tmp_path / "missing.jsonl"
    assert command("retrieve", trained / "good", "--documents", missing, "--query", "cat") == 2
    assert str(missing) in capsys.readouterr().err
    assert command("retrieve", tmp_path / "none", "--documents", documents, "--query", "cat") == 2
    assert f"{tmp_path / 'none'} is not a run directory" in capsys.readouterr().err
    assert retrieve("--query", "cat", "--sums", tmp_path / "none" / "sums.npy") == 2
    assert "--sums" in capsys.readouterr().err
    assert retrieve("--query", "cat", "--sums", tmp_path) == 2
    assert f"--sums {tmp_path} is not a regular file" in capsys.readouterr().err
    assert retrieve("--query", "cat", "--index", ROOT / "docs") == 2
    assert "is not an index" in capsys.readouterr().err


def test_a_config_without_weights_is_no_model(command, documents, capsys):
    assert command("retrieve", ROOT / "configs" / "quickstart.yaml", "--documents", documents, "--query", "cat") == 2
    assert "has no model.initialize_from" in capsys.readouterr().err


@pytest.fixture
def weights(tmp_path):
    """A directory in the Hugging Face layout, and what embeds texts with the same weights, given the longest text."""
    settings = schema.Transformer(
        width=16, layers=1, heads=2, feed_forward=16, norm_position="post", positions="learned", embedding_norm=True, maximum_positions=24
    )
    tokenizer = train_tokenizer(schema.TrainedTokenizer(vocabulary_size=96, minimum_frequency=1), [row["title"] for row in GOOD])
    size = {"vocabulary_size": tokenizer.get_vocab_size(), "maximum_length": 24, "pairs": False}
    graph, parameters = nnx.split(SentenceEmbedder(Encoder(settings, **size, rngs=nnx.Rngs(jax.random.key(0)))))
    special = special_tokens(tokenizer)
    config, tensors = write_model(
        settings,
        nnx.to_pure_dict(parameters),
        kind="encoder",
        maximum_length=24,
        padding=special.padding,
        first=special.first,
        separator=special.separator,
    )
    directory = tmp_path / "published"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.json").write_text(tokenizer.to_str())
    save_file(tensors, directory / "model.safetensors")
    batching = schema.Batching()
    shared = {"settings": None, "batching": batching, "mesh": data_mesh(batching.row_multiple)}
    return directory, lambda longest: EncoderEmbedder(graph, parameters, tokenizer, maximum_length=longest, **shared)


@pytest.mark.parametrize(("by", "longest"), [("directory", 24), ("config", 8)])
def test_published_weights_search_with_the_vectors_of_that_model(weights, command, documents, tmp_path, capsys, by, longest):
    """Texts are cut to what the weights have positions for, or to the config's length."""
    directory, embedder = weights
    model = directory
    if by == "config":
        model = tmp_path / "config.yaml"
        source = {"kind": "files", "train": [{"path": "rows.csv"}]}
        start = {"initialize_from": {"kind": "directory", "path": str(directory)}}
        model.write_text(json.dumps({"name": "by", "data": {"source": source, "maximum_length": longest}, "model": start}))
    long = {"id": "long", "title": "scales " * 12, "text": "whiskers " * 99}
    documents.write_bytes(lines([*GOOD, long]))
    assert command("retrieve", model, "--documents", documents, "--query", "barks leash bone") == 0
    (answer,) = answers(capsys.readouterr().out)
    assert answer["results"][0]["id"] == 7
    assert answer["results"][0]["cosine"] == pytest.approx(1, abs=1e-4)
    for file, entry in (("keys.npy", "title"), ("columns.npy", "text")):
        found = np.load(Path(f"{documents}.index") / file)
        expected = embedder(longest)([row[entry] for row in [*GOOD, long]])
        np.testing.assert_allclose(found if entry == "title" else found.T, expected, atol=1e-5)


def test_exported_weights_search_at_the_temperature_they_were_trained_at(weights, command, documents, capsys):
    directory, _ = weights
    config = json.loads((directory / "config.json").read_text())

    def weight_of_the_best():
        assert command("retrieve", directory, "--documents", documents, "--query", "whiskers of a dog") == 0
        (answer,) = answers(capsys.readouterr().out)
        return answer["results"][0]["weight"]

    sharp = weight_of_the_best()
    (directory / "config.json").write_text(json.dumps({**config, "search_temperature": 5.0}))
    assert weight_of_the_best() < sharp / 2
    (directory / "config.json").write_text(json.dumps({**config, "search_temperature": "cold"}))
    assert command("retrieve", directory, "--documents", documents, "--query", "cat") == 2
    assert "search_temperature should be a number above 0, not 'cold'" in capsys.readouterr().err


def test_a_config_that_starts_from_a_run_searches_with_that_run(trained, command, retrieve, documents, tmp_path, capsys):
    retrieve("--query", "cat")
    expected = answers(capsys.readouterr().out)
    source = {"kind": "files", "train": [{"path": "rows.csv"}]}
    start = {"initialize_from": {"kind": "run", "path": str(trained / "good")}}
    (tmp_path / "next.yaml").write_text(json.dumps({"name": "next", "data": {"source": source, "maximum_length": 32}, "model": start}))
    assert command("retrieve", tmp_path / "next.yaml", "--documents", documents, "--query", "cat") == 0
    output = capsys.readouterr()
    assert (answers(output.out), output.err) == (expected, "")  # with the run's own index


def test_a_reader_that_leaves_is_no_failure(retrieve, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert retrieve("--query", "cat") == 0


def test_from_another_directory_and_a_plain_locale(trained, documents, tmp_path):
    """The command as a person types it."""
    shutil.copy(documents, tmp_path / "here.jsonl")
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "retrieve.py"), str(trained / "good"), "--documents", "here.jsonl", "--query", "whiskers"],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "猫" in result.stdout.decode()
    assert (tmp_path / "here.jsonl.index" / "index.json").exists()


def test_help_tells_the_whole_contract(command, capsys):
    assert command("retrieve", "--help") == 0
    text = capsys.readouterr().out
    for word in (
        "RUN_DIR_OR_MODEL",
        "--documents FILE.jsonl",
        "--query TEXT",
        "standard input",
        '"weighted_sum"',
        '"weight"',
        "FILE.jsonl.index",
    ):
        assert word in text
