"""Show what a trained run looked at when it labelled a text: one HTML page."""

import argparse
import sys
from pathlib import Path

from transformer.config.errors import run_command
from transformer.data.lines import open_standard_streams, parse_text
from transformer.data.outputs import check_output_file, write_output_file
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
    open_standard_streams(reading=False)
    check_output_file("--output", arguments.output)
    # JAX is imported only now, so that a mistake on the command line is told at once.
    from transformer.attention_map.explanation import explain
    from transformer.attention_map.page import attention_map_page
    from transformer.training.devices import set_up_jax
    from transformer.training.run import load_run

    set_up_jax()
    run = load_run(arguments.run)
    explanation = explain(run, parse_text(arguments.text, "the text", pairs=len(run.config.data.text) == 2))
    write_output_file("--output", arguments.output, attention_map_page(explanation, run.config.name, run.config.model.kind))
    label = explanation.labels[explanation.probabilities.argmax()]
    sys.stdout.write(f"{label} ({explanation.probabilities.max():.2%}); {arguments.output}\n")


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
