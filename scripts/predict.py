"""Label texts with a trained run: texts in, JSON lines out."""

import argparse
import json
import sys
from functools import partial

import numpy as np

from transformer.config.errors import run_command
from transformer.data.lines import answer_standard_input, open_standard_streams, parse_text
from transformer.data.sources import Text
from transformer.host import make_allocation_cheap

BATCH = 1024
"""Most texts predicted before their lines are written; enough of them that each length has full batches."""

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
    parser.add_argument("texts", metavar="TEXT", nargs="*", default=[], help="texts to label; without any, standard input is read")
    arguments = parser.parse_args()
    open_standard_streams(reading=not arguments.texts)
    # JAX is imported only now, so that a mistake on the command line is told at once.
    from transformer.data.tokenization import encode_texts
    from transformer.training.devices import set_up_jax
    from transformer.training.run import load_run

    set_up_jax()
    run = load_run(arguments.run)
    maximum_length = run.config.data.maximum_length
    parse = partial(parse_text, pairs=len(run.config.data.text) == 2)
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
        answer([parse(text, f"text {row}") for row, text in enumerate(arguments.texts, start=1)])
    else:
        answer_standard_input("text", BATCH, parse, answer)


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
