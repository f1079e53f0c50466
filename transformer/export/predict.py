"""Run the exported model in this directory: texts in, JSON lines out. Needs jax, flatbuffers, numpy and tokenizers, and nothing else.

    python predict.py TEXT ...           or texts one a line on standard input (UTF-8)

A classifier writes {"label": ..., "probabilities": {...}} for each text; of pairs, each text is a JSON list of two strings. A masked
language model writes {"gaps": [{token: probability, ...}, ...]}, the likeliest tokens for each mask token of the text. A model that embeds
texts writes {"vector": [...]}, of length 1.
"""

import codecs
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax import export
from tokenizers import Encoding, Tokenizer

HERE = Path(__file__).resolve().parent
ROWS = 32
"""Most texts computed at once."""
LENGTH_STEP = 32
"""Texts are padded to a multiple of so many tokens, since every shape is compiled anew."""
GAPS_STEP = 8
CHARACTERS_PER_TOKEN = 64
"""Of a text, no more than so many characters for each token of the maximum length are looked at."""
LIKELIEST = 5


class UnreadableError(Exception):
    """A text cannot be read; the message says where it stands and what to do."""


class Model:
    """The exported program with its parameters, ready to be called."""

    def __init__(self, directory: Path = HERE) -> None:
        """Read a directory that scripts/export.py wrote."""
        self.settings: dict[str, Any] = json.loads((directory / "settings.json").read_text(encoding="utf-8"))
        self.tokenizer: Tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.enable_truncation(self.settings["maximum_length"])
        labels = directory / "labels.json"
        self.labels: list[str] = json.loads(labels.read_text(encoding="utf-8")) if labels.exists() else []
        exported = export.deserialize(bytearray((directory / "program.bin").read_bytes()))
        (_, batch), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
        length = batch["tokens"].shape[1]
        self._fixed_length: int | None = length if isinstance(length, int) else None
        self._call = jax.jit(exported.call)
        with np.load(directory / "parameters.npz", allow_pickle=False) as parameters:
            self._parameters = jax.device_put(dict(parameters))

    def __call__(self, texts: list[Any]) -> list[dict[str, Any]]:
        """The answer to each text, or to each pair (a tuple) of texts."""
        answers: list[dict[str, Any]] = []
        for begin in range(0, len(texts), ROWS):
            encodings = self.tokenizer.encode_batch([self._cut(text) for text in texts[begin : begin + ROWS]])
            batch = self._batch(encodings)
            results = np.asarray(self._call(self._parameters, batch))
            answers += [self._answer(encoding, row) for encoding, row in zip(encodings, results, strict=False)]
        return answers

    def _cut(self, text: Any) -> Any:
        characters = self.settings["maximum_length"] * CHARACTERS_PER_TOKEN
        return text[:characters] if isinstance(text, str) else tuple(part[:characters] for part in text)

    def _batch(self, encodings: list[Encoding]) -> dict[str, np.ndarray]:
        rows = 1 << (len(encodings) - 1).bit_length()
        longest = max(1, *(len(encoding.ids) for encoding in encodings))
        length = self._fixed_length or min(_next(longest, LENGTH_STEP), self.settings["maximum_length"])
        tokens = np.full((rows, length), self.settings["padding"], np.int32)
        segments, positions, types = (np.zeros((rows, length), np.int32) for _ in range(3))
        for row, encoding in enumerate(encodings):
            used = len(encoding.ids)
            tokens[row, :used] = encoding.ids
            segments[row, :used] = 1  # 0 is padding
            positions[row, :used] = np.arange(used)
            if self.settings["pairs"]:
                types[row, _second(encoding) : used] = 1
        batch = {"tokens": tokens, "segments": segments, "positions": positions}
        if self.settings["pairs"]:
            batch["types"] = types
        if self.settings["objective"] == "masked_language_model":
            gaps = [self._gaps(encoding) for encoding in encodings]
            batch["selected"] = np.zeros((rows, _next(max(1, *map(len, gaps)), GAPS_STEP)), np.int32)
            for row, columns in enumerate(gaps):
                batch["selected"][row, : len(columns)] = columns
        return batch

    def _gaps(self, encoding: Encoding) -> list[int]:
        return [column for column, token in enumerate(encoding.ids) if token == self.settings["mask"]]

    def _answer(self, encoding: Encoding, result: np.ndarray) -> dict[str, Any]:
        match self.settings["objective"]:
            case "classification":
                probabilities = {name: _rounded(value) for name, value in zip(self.labels, result, strict=True)}
                return {"label": self.labels[result.argmax()], "probabilities": probabilities}
            case "masked_language_model":
                return {"gaps": [self._likeliest(row) for row in result[: len(self._gaps(encoding))]]}
            case _:
                return {"vector": [_rounded(value) for value in result]}

    def _likeliest(self, probabilities: np.ndarray) -> dict[str, float]:
        best = np.argsort(-probabilities, kind="stable")[:LIKELIEST]
        return {str(self.tokenizer.id_to_token(int(token))): _rounded(probabilities[token]) for token in best}


def _second(encoding: Encoding) -> int:
    """Where the second text of a pair begins."""
    if 1 in encoding.type_ids:
        return int(encoding.type_ids.index(1))
    return int(encoding.sequence_ids.index(1)) if 1 in encoding.sequence_ids else len(encoding.ids)


def _next(number: int, step: int) -> int:
    return -(-number // step) * step


def _rounded(value: Any) -> float:
    # Six digits are what float32 holds.
    return float(f"{value:.6g}")


def _parse(text: str, pairs: bool, where: str) -> Any:
    """The text, or a tuple of the two texts of a JSON list. Raises UnreadableError where there is none."""
    parts = [text]
    if pairs:
        try:
            parts = json.loads(text)
        except (ValueError, RecursionError):
            parts = []
        if not (isinstance(parts, list) and len(parts) == 2 and all(isinstance(part, str) for part in parts)):
            raise UnreadableError(f'{where} is not a pair; write a JSON list of two strings: ["first", "second"]')
    try:
        "".join(parts).encode()
    except UnicodeEncodeError as error:
        raise UnreadableError(f"{where} is not UTF-8, or escapes half of a surrogate pair; convert it, or drop it") from error
    return tuple(parts) if pairs else text


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(2)


def _answer_standard_input(pairs: bool, answer: Callable[[list[Any]], None]) -> None:
    """Answer its lines, up to one that cannot be read."""
    texts: list[Any] = []
    for row, line in enumerate(sys.stdin.buffer, 1):
        text = (line.removeprefix(codecs.BOM_UTF8) if row == 1 else line).decode(errors="surrogateescape")
        try:
            texts.append(_parse(text.removesuffix("\n").removesuffix("\r"), pairs, f"line {row} of standard input"))
        except UnreadableError:
            answer(texts)
            raise
        if len(texts) == ROWS:
            answer(texts)
            texts = []
    answer(texts)


def main() -> None:
    """Answer the texts of the command line, or those of standard input, some at a time."""
    if sys.argv[1:2] in (["-h"], ["--help"]):
        sys.stdout.write(__doc__ or "")
        return
    if sys.stdout is None or (sys.stdin is None and not sys.argv[1:]):
        _fail("a standard stream is closed; send texts with < FILE, and answers with > FILE")
    model = Model()
    pairs = model.settings["pairs"]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]

    def answer(texts: list[Any]) -> None:
        for line in model(texts):
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    try:
        if sys.argv[1:]:
            answer([_parse(text, pairs, f"text {row}") for row, text in enumerate(sys.argv[1:], 1)])
            return
        _answer_standard_input(pairs, answer)
    except UnreadableError as error:
        _fail(str(error))
    except jax.errors.JaxRuntimeError as error:
        if "deserialize" not in str(error):
            raise
        _fail(
            f"program.bin was made by JAX {model.settings['jax']}, and this is JAX {jax.__version__}; install that version or a later one"
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
