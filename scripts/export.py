"""Write a trained run in a form that other programs read: the Hugging Face layout, or StableHLO."""

import argparse
import os
import sys
from pathlib import Path

from transformer.config.errors import run_command
from transformer.export.directory import check_free, write_directory
from transformer.host import make_allocation_cheap

DESCRIPTION = """\
Write a finished run into the directory OUT, which must not exist or be empty, for use without this project:

  huggingface   config.json, model.safetensors and the tokenizer, as PyTorch's transformers library loads them: a classifier with
                AutoModelForSequenceClassification, a masked language model with AutoModelForMaskedLM, an encoder to search with with
                AutoModel. Only Transformers that are a BERT, RoBERTa, DistilBERT or ModernBERT have a place there; for others the
                message says what to train.
  stablehlo     the prediction as one program for CPU, CUDA and TPU, for any number of texts of any length up to the run's, its
                parameters, and a script predict.py that runs it with jax, flatbuffers, numpy and tokenizers alone. Every model.

Both come with a model card, README.md. OUT is written whole or not at all.
"""

EXAMPLES = """\
examples:
  python scripts/export.py runs/r8 exported --format huggingface      (docs/fine_tuning.md trains runs/r8)
  python scripts/export.py runs/quickstart program --format stablehlo && python program/predict.py "wheat exports rose"
"""


def main() -> None:
    """Export a run."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN_DIR", help="directory of a run that train.py finished")
    parser.add_argument("out", metavar="OUT", type=Path, help="directory to write")
    parser.add_argument("--format", choices=("huggingface", "stablehlo"), required=True, help="what to write")
    arguments = parser.parse_args()
    check_free(arguments.out)
    # Nothing is computed here, so an accelerator stays free; and a program that is traced on a GPU could hold kernels that only it has.
    os.environ["JAX_PLATFORMS"] = "cpu"
    # JAX is imported only now, so that a mistake on the command line is told at once.
    from transformer.export.hugging_face import export_hugging_face
    from transformer.export.stablehlo import export_stablehlo
    from transformer.training.run import load_run

    run = load_run(arguments.run)
    export = {"huggingface": export_hugging_face, "stablehlo": export_stablehlo}[arguments.format]
    write_directory(arguments.out, lambda directory: export(run, directory, arguments.out.resolve().name))
    sys.stdout.write(f"{arguments.out} is written; {arguments.out / 'README.md'} says how to use it\n")


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
