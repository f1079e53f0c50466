"""The process that holds one competitor. Started by `rounds.Worker`, under the interpreter that has the competitor's libraries.

It builds the competitor named on the command line, answers with its size, then reads numbers of passes and answers with their times.
"""

import json
import math
import sys
import time
from importlib import import_module

from benchmarks.work import Competitor
from transformer.evaluation.parallelism.process import answer_stream
from transformer.host import make_allocation_cheap, peak_resident_bytes


def main() -> None:
    """Build, then answer."""
    specification = json.loads(sys.argv[1])
    if specification["settings"].pop("cheap_allocation", False):
        make_allocation_cheap()
    answers = answer_stream()
    module, function = specification["build"].split(":")
    competitor: Competitor = getattr(import_module(module), function)(**specification["settings"])
    print(json.dumps(competitor.facts()), file=answers, flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        loss = competitor.run(int(line))
        seconds = time.perf_counter() - started
        if not math.isfinite(loss):
            sys.exit(f"the loss is {loss}")
        print(json.dumps({"seconds": seconds, "loss": loss, "peak_bytes": peak_resident_bytes()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
