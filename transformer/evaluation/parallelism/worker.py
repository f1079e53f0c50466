"""The process that holds one model of the study: it compiles, counts and times the model's steps when it is asked to."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from transformer.evaluation.parallelism.process import OUT_OF_MEMORY, answer_stream
from transformer.host import make_allocation_cheap


def main() -> None:
    """Build the model that the command line describes, tell its size, and answer questions until there are no more."""
    described = json.loads(sys.argv[1])
    if described["cores"] is not None and hasattr(os, "sched_setaffinity"):
        # Before JAX starts, since it then makes a thread for each core that it may use.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: described["cores"]])
    make_allocation_cheap()
    answers = answer_stream()
    if Path("/proc/self/oom_score_adj").exists():
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, this process shall go and none of the user's

    from transformer.evaluation.parallelism.steps import MeasuredModel, measure_rates  # JAX starts here
    from transformer.training.devices import make_cores_devices

    make_cores_devices()
    model = MeasuredModel(**described["model"])
    print(json.dumps({"parameters_without_embeddings": model.parameters_without_embeddings}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(model, measure_rates, **json.loads(line))), file=answers, flush=True)


def _answer(model: Any, measure_rates: Any, do: str, **arguments: Any) -> dict[str, Any]:
    import jax

    try:
        match do:
            case "count":
                return model.count(**arguments)
            case "prepare":
                return model.prepare(**arguments)
            case "run":
                return {"seconds": model.run(**arguments)}
            case "rates":
                return measure_rates()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"failure": OUT_OF_MEMORY}
    raise ValueError(f"no such question: {do}")


if __name__ == "__main__":
    main()
