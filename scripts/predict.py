"""Label texts with a trained run: texts in, JSON lines out."""

import argparse
import json
import sys
from collections.abc import Callable

import numpy as np

from transformer.config.errors import UsageError, run_command
from transformer.data.lines import decoded, open_standard_streams, read_lines
from transformer.host import make_allocation_cheap

BATCH = 1024
"""Most texts predicted before their lines are written; enough of them that each length has full batches."""

Text = str | tuple[str, str]

DESCRIPTION = """\
Label texts with a trained run. Texts come from the command line, or one a line from standard input (UTF-8; an empty line is an empty
text). For each text, in order, a JSON line goes to standard output:

  {"label": "grain", "probabilities": {"corn": 0.02, "grain": 0.98}}

Lines are written as soon as their texts are read, so the input may be endless. For a run trained on pairs of texts, each text is a
JSON list of two strings: ["first text", "second text"].
"""

EXAMPLES = """\
examples:
  python scripts/predict.py runs/quickstart "wheat exports rose" "the bank cut its rate"
  python scripts/predict.py runs/quickstart < texts.txt > labels.jsonl
  python scripts/predict.py runs/quickstart -- "-5 % on the quarter"     a text that begins with a dash
"""


def main() -> None:
    """Label the texts of the command line or of standard input."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN_DIR", help="directory of a run that train.py finished")
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="texts to label; without any, standard input is read")
    arguments = parser.parse_args()
    open_standard_streams(reading=not arguments.texts)
    # JAX is imported only now, so that a mistake on the command line is told at once.
    from transformer.data.tokenization import encode_texts
    from transformer.training.devices import set_up_jax
    from transformer.training.run import load_run

    set_up_jax()
    run = load_run(arguments.run)
    maximum_length, pairs = run.config.data.maximum_length, len(run.config.data.text) == 2
    # Texts of any length may come, and shapes that do not depend on them are compiled once.
    predictor = run.predictor(np.arange(1, maximum_length + 1))

    def answer(texts: list[Text]) -> None:
        split = encode_texts(run.tokenizer, texts, maximum_length)
        for probabilities in predictor(run.parameters, split):
            # Six digits are what float32 holds.
            named = {name: float(f"{value:.6g}") for name, value in zip(run.labels, probabilities, strict=True)}
            line = json.dumps({"label": run.labels[probabilities.argmax()], "probabilities": named}, ensure_ascii=False)
            sys.stdout.write(line + "\n")
        sys.stdout.flush()

    if arguments.texts:
        answer([_parse(text, f"text {row}", pairs) for row, text in enumerate(arguments.texts, start=1)])
        return
    if sys.stdin.isatty():
        sys.stderr.write("Type a text a line; Ctrl-D ends.\n")
    for row, lines in read_lines(sys.stdin.buffer, BATCH):  # type: ignore[arg-type]  # it is one that is buffered
        _answer_lines(lines, row, pairs, answer)


def _answer_lines(lines: list[bytes], first_row: int, pairs: bool, answer: Callable[[list[Text]], None]) -> None:
    texts = []
    try:
        for row, line in enumerate(lines, start=first_row):
            where = f"line {row} of standard input"
            texts.append(_parse(decoded(line, where), where, pairs))
    finally:
        if texts:  # the lines before a bad one are answered
            answer(texts)


def _parse(text: str, where: str, pairs: bool) -> Text:
    """Return the text, or the two texts of a JSON list; raise UsageError where they cannot be read."""
    texts = [text]
    if pairs:
        try:
            texts = json.loads(text)
        except (ValueError, RecursionError):
            texts = []
        if not (isinstance(texts, list) and len(texts) == 2 and all(isinstance(part, str) for part in texts)):
            raise UsageError(
                f'{where} is not a pair, and this run was trained on pairs; write a JSON list of two strings: ["first", "second"]'
            )
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{where} is not UTF-8, or escapes half of a surrogate pair; convert it, or drop it") from error
    return (texts[0], texts[1]) if pairs else text


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
