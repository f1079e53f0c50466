"""predict.py: texts in, JSON lines out, whatever the texts are."""

import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from transformer.data.tokenization import encode_texts
from transformer.training.run import load_run

ROOT = Path(__file__).parents[2]
FISH = "the small house near water fins scales"
DOG = "bone leash barks"


def answers(output):
    return [json.loads(line) for line in output.splitlines()]


def test_texts_of_the_command_line(trained, command, capsys):
    assert command("predict", trained / "good", FISH, DOG) == 0
    lines = answers(capsys.readouterr().out)
    assert [line["label"] for line in lines] == ["[bold]魚", "dog"]
    for line in lines:
        assert set(line) == {"label", "probabilities"}
        assert set(line["probabilities"]) == {"cat", "dog", "[bold]魚"}
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert max(line["probabilities"], key=line["probabilities"].get) == line["label"]


def test_lines_of_standard_input_give_what_the_run_predicts(trained, command, capsys):
    texts = [FISH, "", DOG, "old cat " * 30, "unbekannte Wörter 未知"]
    assert command("predict", trained / "good", stdin="\n".join(texts).encode()) == 0
    lines = answers(capsys.readouterr().out)
    run = load_run(trained / "good")
    split = encode_texts(run.tokenizer, texts, run.config.data.maximum_length)
    expected = run.predictor(split.lengths)(run.parameters, split)
    measured = np.array([[line["probabilities"][name] for name in run.labels] for line in lines])
    np.testing.assert_allclose(measured, expected, rtol=1e-4)


def test_a_texts_answer_does_not_depend_on_its_neighbours(trained, command, capsys):
    command("predict", trained / "good", FISH)
    alone = answers(capsys.readouterr().out)[0]["probabilities"]
    command("predict", trained / "good", stdin=f"{DOG * 9}\n{FISH}\n{'cat ' * 99}\n".encode())
    among = answers(capsys.readouterr().out)[1]["probabilities"]
    assert alone == pytest.approx(among, rel=1e-4)


def test_every_line_counts_as_a_text(trained, command, capsys):
    """Empty lines, Windows line ends, a last line without an end, and more lines than a batch holds: one answer each, in order."""
    assert command("predict", trained / "good", stdin=b"\n\r\n" + f"{FISH}\r\n{DOG}\n".encode() * 700 + b"purrs whiskers mouse") == 0
    labels = [line["label"] for line in answers(capsys.readouterr().out)]
    assert len(labels) == 1403
    assert labels[0] == labels[1]
    assert labels[2:-1] == ["[bold]魚", "dog"] * 700
    assert labels[-1] == "cat"


def test_no_texts_no_answers(trained, command, capsys):
    assert command("predict", trained / "good", stdin=b"") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("wort " * 200_000, id="enormous"),
        pytest.param("x" * 500_000, id="one enormous word"),
        pytest.param("未知 ☃ 🦆", id="all unknown"),
        pytest.param("\x00\x01\x1b[31m\x7f\u200b\ufeff\u2028\x85", id="control characters"),
        pytest.param("[CLS] [PAD] [MASK] [UNK] [SEP]", id="special tokens"),
        pytest.param("e" + "\u0301" * 5000, id="combining characters"),
    ],
)
def test_hostile_texts_are_answered(trained, command, capsys, text):
    assert command("predict", trained / "good", stdin=f"{FISH}\n{text}\n{DOG}\n".encode()) == 0
    lines = answers(capsys.readouterr().out)
    assert [line["label"] for line in lines[::2]] == ["[bold]魚", "dog"]
    assert np.isfinite(list(lines[1]["probabilities"].values())).all()


def test_a_line_that_is_not_utf8_is_named_and_those_before_it_are_answered(trained, command, capsys):
    assert command("predict", trained / "good", stdin=f"{FISH}\n{DOG}\n".encode() + b"caf\xe9\n" + FISH.encode()) == 2
    output = capsys.readouterr()
    assert len(answers(output.out)) == 2
    assert "line 3 of standard input is not UTF-8 (byte 4)" in output.err


def test_an_argument_that_is_not_utf8_is_named(trained, command, capsys):
    assert command("predict", trained / "good", FISH, b"caf\xe9".decode(errors="surrogateescape")) == 2
    assert "text 2 is not UTF-8" in capsys.readouterr().err


def test_pairs_are_json_lists(trained, command, capsys):
    lines = [json.dumps(["the house of old", second]) for second in ("fins scales water", "barks bone leash")]
    assert command("predict", trained / "pairs", stdin="\n".join(lines).encode()) == 0
    assert [line["label"] for line in answers(capsys.readouterr().out)] == ["[bold]魚", "dog"]
    assert command("predict", trained / "pairs", *lines) == 0
    assert len(answers(capsys.readouterr().out)) == 2


@pytest.mark.parametrize("line", ["plain text", '["one"]', '["one", 2]', "[" * 9999, "1" * 9999, '{"first": "a"}', ""])
def test_a_line_that_is_no_pair_is_named(trained, command, capsys, line):
    assert command("predict", trained / "pairs", stdin=f'["a", "b"]\n{line}\n'.encode()) == 2
    output = capsys.readouterr()
    assert len(answers(output.out)) == 1
    assert "line 2 of standard input is not a pair, and this run was trained on pairs; write a JSON list" in output.err


def test_half_a_surrogate_pair_is_refused(trained, command, capsys):
    assert command("predict", trained / "pairs", stdin=rb'["a", "\ud800"]') == 2
    assert "line 1 of standard input" in capsys.readouterr().err


def test_answers_come_while_the_input_is_still_open(trained, command, monkeypatch):
    """One text is answered before the next is written: nothing waits for a full batch."""
    reading, writing = os.pipe()
    answered_reading, answered_writing = os.pipe()
    received = []

    def converse():
        with os.fdopen(answered_reading) as answered, os.fdopen(writing, "wb", buffering=0) as texts:
            for text in (FISH, DOG):
                texts.write(f"{text}\n".encode())
                if not select.select([answered], [], [], 60)[0]:
                    return
                received.append(json.loads(answered.readline())["label"])

    talk = threading.Thread(target=converse)
    talk.start()
    with os.fdopen(answered_writing, "w") as output, os.fdopen(reading) as texts:
        monkeypatch.setattr(sys, "stdout", output)
        assert command("predict", trained / "good", stdin=texts) == 0
    talk.join()
    assert received == ["[bold]魚", "dog"]


def test_a_reader_that_leaves_is_no_failure(trained, command, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert command("predict", trained / "good", FISH) == 0


def test_from_another_directory_and_a_plain_locale(trained, tmp_path):
    """The command as a person types it: only JSON lines on standard output, nothing on standard error."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "predict.py"), str(trained / "good")],
        input=f"{FISH}\n{DOG}".encode(),
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert [line["label"] for line in answers(result.stdout.decode())] == ["[bold]魚", "dog"]


def test_help_tells_the_whole_contract(command, capsys):
    assert command("predict", "--help") == 0
    text = capsys.readouterr().out
    for word in ("RUN_DIR", "TEXT", "standard input", "UTF-8", '"probabilities"', "JSON list of two strings"):
        assert word in text


def test_a_directory_that_is_no_run_is_refused(command, capsys, tmp_path):
    assert command("predict", tmp_path, FISH) == 2
    assert str(tmp_path) in capsys.readouterr().err
