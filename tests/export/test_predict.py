"""The script that stands beside an exported program: what it reads, and which lines are answered."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers import Tokenizer

from transformer.export import predict
from transformer.export.stablehlo import export_stablehlo


class Echo:
    """A model whose answer to a text is the text."""

    def __init__(self, *, pairs=False):
        self.settings = {"pairs": pairs, "jax": "any"}

    def __call__(self, texts):
        return texts


@pytest.fixture
def answer(monkeypatch, capsys):
    """(standard input, whether texts are pairs) -> exit code, answers, standard error."""

    def run(content, *, pairs=False):
        monkeypatch.setattr(predict, "Model", lambda: Echo(pairs=pairs))
        monkeypatch.setattr(sys, "argv", ["predict.py"])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output := io.BytesIO()))
        try:
            predict.main()
            code = 0
        except SystemExit as left:
            code = left.code
        return code, [json.loads(line) for line in output.getvalue().splitlines()], capsys.readouterr().err

    return run


def test_a_byte_order_mark_is_no_part_of_the_first_text(answer):
    assert answer(b"\xef\xbb\xbfone\r\n\xef\xbb\xbftwo") == (0, ["one", "\ufefftwo"], "")
    assert answer(b'\xef\xbb\xbf["a", "b"]\n', pairs=True) == (0, [["a", "b"]], "")


def test_the_lines_before_one_that_cannot_be_read_are_answered(answer):
    lines = [f"text {row}" for row in range(predict.ROWS + 3)]
    code, answers, told = answer("\n".join([*lines, ""]).encode() + b"\xff\nnever\n")
    assert (code, answers) == (2, lines)
    assert (
        told
        == f"error: line {len(lines) + 1} of standard input is not UTF-8, or escapes half of a surrogate pair; convert it, or drop it\n"
    )
    code, answers, told = answer(b'["a", "b"]\nno pair\n', pairs=True)
    assert (code, answers) == (2, [["a", "b"]])
    assert "line 2 of standard input is not a pair" in told


@pytest.mark.usefixtures("symbols_are_sizes")
def test_a_text_without_tokens_is_answered(make_run, tmp_path):
    """As an empty one is where the tokenizer writes nothing around a text."""
    run = make_run({"feed_forward": 32})
    bare = json.loads(run.tokenizer.to_str()) | {"post_processor": None}
    export_stablehlo(run, tmp_path, "out")
    Tokenizer.from_str(json.dumps(bare)).save(str(tmp_path / "tokenizer.json"))
    model = predict.Model(tmp_path)
    for texts in ([""], ["", "the cat purrs"]):
        for found in model(texts):
            assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-5)
            assert np.isfinite(list(found["probabilities"].values())).all()
