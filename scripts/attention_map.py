"""Show what a trained run looked at when it labelled a text: one HTML page."""

import argparse
import json
import os
import sys
from pathlib import Path

from transformer.config.errors import UsageError, run_command
from transformer.host import make_allocation_cheap

DESCRIPTION = """\
Label a text with a trained run and write a page that shows why: the label and the probabilities; which words the decision rests on (each
is left out in turn); for a Transformer where each word looks, in any layer and head, their mean, and attention rollout; for Bahdanau
attention the weight of each word. The page is one file that opens offline. For a run trained on pairs of texts, TEXT is a JSON list of
two strings: ["first text", "second text"].
"""

EXAMPLES = """\
examples:
  python scripts/attention_map.py runs/quickstart "wheat exports rose" --output map.html
  python scripts/attention_map.py runs/quickstart --output map.html -- "-5 % on the quarter"     a text that begins with a dash
"""


def main() -> None:
    """Write the attention map of the text on the command line."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN_DIR", help="directory of a run that train.py finished")
    parser.add_argument("text", metavar="TEXT", help="the text to label")
    parser.add_argument("--output", metavar="FILE.html", type=Path, required=True, help="the page")
    arguments = parser.parse_args()
    if arguments.output.exists() and not arguments.output.is_file():
        raise UsageError(f"--output {arguments.output} is not a regular file; name a file that may be written")
    folder = arguments.output.absolute().parent
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--output {arguments.output}: no directory {folder} that may be written to; make it, or name another")
    # JAX is imported only now, so that a mistake on the command line is told at once.
    from transformer.attention_map.explanation import explain
    from transformer.attention_map.page import attention_map_page
    from transformer.host import write_whole
    from transformer.training.devices import set_up_jax
    from transformer.training.run import load_run

    set_up_jax()
    run = load_run(arguments.run)
    explanation = explain(run, _parse(arguments.text, pairs=len(run.config.data.text) == 2))
    written = attention_map_page(explanation, run.config.name, run.config.model.kind)
    try:
        write_whole(arguments.output, written)
    except OSError as error:
        raise UsageError(f"--output {arguments.output}: {error.strerror}; make room, or name another file") from error
    label = explanation.labels[explanation.probabilities.argmax()]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # label names may be in any script, whatever the locale
    sys.stdout.write(f"{label} ({explanation.probabilities.max():.2%}); {arguments.output}\n")


def _parse(text: str, *, pairs: bool) -> str | tuple[str, str]:
    """Return the text, or the two texts of a JSON list; raise UsageError where they cannot be read."""
    texts = [text]
    if pairs:
        try:
            texts = json.loads(text)
        except (ValueError, RecursionError):
            texts = []
        if not (isinstance(texts, list) and len(texts) == 2 and all(isinstance(part, str) for part in texts)):
            raise UsageError(
                'the text is not a pair, and this run was trained on pairs; write a JSON list of two strings: ["first", "second"]'
            )
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise UsageError("the text is not UTF-8, or escapes half of a surrogate pair; convert it") from error
    return (texts[0], texts[1]) if pairs else text


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
