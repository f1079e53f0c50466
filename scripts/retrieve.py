"""Search documents: a query attends to their titles and reads their texts; JSON lines out."""

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from transformer.config.command_line import positive_integer
from transformer.config.errors import UsageError, run_command
from transformer.data.lines import answer_standard_input, check_unicode, open_standard_streams
from transformer.data.outputs import check_output_file, write_output_file
from transformer.host import make_allocation_cheap

BATCH = 256
"""Most queries answered before their lines are written."""

DESCRIPTION = """\
Search documents with a trained encoder, as attention does: a query is compared with every title (the keys), a softmax turns the cosines
into weights, and the texts (the values) are averaged by these weights. The search is exact: no document is left out.

Documents are a JSON lines file, UTF-8, an object a line: {"id": "1", "title": "...", "text": "..."}. The first call makes their index
beside the file, FILE.jsonl.index (or where --index says), which can take long; if a call is killed, the next one continues it.
Where the file or the model has changed, the index is made anew.

The query comes from --query, or queries come one a line from standard input (UTF-8). For each, in order, a JSON line goes to standard
output, the best title first:

  {"query": "wheat", "results": [{"id": "1", "title": "Grain exports", "weight": 0.62, "cosine": 0.71}, ...],
   "weighted_sum": {"norm": 0.83, "nearest": {"id": "1", "title": "Grain exports", "cosine": 0.94}}}

The weights of all documents sum to 1. The weighted sum has norm 1 where the texts that count say the same, less where they differ;
`nearest` is the document whose text is nearest to it. --sums keeps the sums themselves.
"""

EXAMPLES = """\
examples:
  python scripts/retrieve.py runs/search --documents news.jsonl --query "wheat exports"
  python scripts/retrieve.py runs/search --documents news.jsonl < queries.txt > answers.jsonl
  python scripts/retrieve.py sentence-transformers/all-MiniLM-L6-v2 --documents news.jsonl --query "wheat exports"
"""


def main() -> None:
    """Answer the query of the command line, or those of standard input."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "model",
        metavar="RUN_DIR_OR_MODEL",
        help="a run that train.py finished; a directory in the Hugging Face layout (config.json, model.safetensors, tokenizer.json); a "
        "model on the hub; or a config file, for the weights that its model.initialize_from names",
    )
    parser.add_argument("--documents", metavar="FILE.jsonl", type=Path, required=True, help="what is searched")
    parser.add_argument("--query", metavar="TEXT", help="what is searched for; without it, standard input is read")
    parser.add_argument("--top", metavar="K", type=positive_integer, default=10, help="how many titles are told (default: %(default)s)")
    parser.add_argument("--index", metavar="DIR", type=Path, help="where the index is kept (default: FILE.jsonl.index, beside the file)")
    parser.add_argument("--sums", metavar="FILE.npy", type=Path, help="write the weighted sums here, a row a query, float32")
    arguments = parser.parse_args()
    open_standard_streams(reading=arguments.query is None)
    query = None if arguments.query is None else _parse_query(arguments.query, "--query")
    if arguments.sums:
        check_output_file("--sums", arguments.sums)
    if not arguments.documents.is_file():
        raise UsageError(f"there is no file {arguments.documents}; name a JSON lines file with --documents")
    # JAX is imported only now, so that a mistake on the command line is told at once.
    from transformer.search.engine import SearchEngine
    from transformer.search.index import default_directory, open_index
    from transformer.search.models import open_model
    from transformer.training.devices import set_up_jax

    def tell(line: str) -> None:
        sys.stderr.write(line + "\n")

    set_up_jax()
    embedder, temperature = open_model(arguments.model, tell)
    index = open_index(arguments.documents, arguments.index or default_directory(arguments.documents), embedder, tell)
    engine = SearchEngine(index.keys, index.columns, temperature)
    sums = [np.zeros((0, embedder.width), np.float32)]

    def answer(queries: list[str]) -> None:
        answers = engine(embedder(queries), arguments.top)
        nearest, cosines = engine.nearest(answers.sums)
        for row, text in enumerate(queries):
            found = zip(answers.documents[row], answers.weights[row], answers.cosines[row], strict=True)
            results = [_named(index.documents[int(document)], weight=weight, cosine=cosine) for document, weight, cosine in found]
            nearest_text = _named(index.documents[int(nearest[row])], cosine=cosines[row])
            weighted_sum = {"norm": _rounded(float(np.linalg.norm(answers.sums[row]))), "nearest": nearest_text}
            line = json.dumps({"query": text, "results": results, "weighted_sum": weighted_sum}, ensure_ascii=False)
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
        if arguments.sums:
            sums.append(answers.sums)

    if query is None:
        answer_standard_input("query", BATCH, _parse_query, answer)
    else:
        answer([query])
    if arguments.sums:
        content = io.BytesIO()
        np.save(content, np.concatenate(sums))
        write_output_file("--sums", arguments.sums, content.getvalue())


def _parse_query(query: str, where: str) -> str:
    if not query.strip():
        raise UsageError(f"{where} is empty; write what is searched for")
    check_unicode(query, where)
    return query


def _named(document: Any, **figures: float) -> dict[str, Any]:
    return {"id": document.id, "title": document.title, **{name: _rounded(value) for name, value in figures.items()}}


def _rounded(value: float) -> float:
    # Six digits are what float32 holds.
    return float(f"{value:.6g}")


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
