"""One model's steps: forward, and forward with backward; compiled, counted and timed."""

import time
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import Mesh
from pydantic import TypeAdapter

from transformer.config import schema
from transformer.evaluation.parallelism.program import read_program
from transformer.evaluation.parallelism.work_span import work_and_span
from transformer.model.attention_blocks import attention_at_once
from transformer.model.build import build_classifier
from transformer.training.devices import core_mesh, program_bytes, replicate, split_rows
from transformer.training.models import count_parameters
from transformer.training.objective import DeviceBatch, Parameters, model_inputs
from transformer.training.objectives.classification import classification_loss
from transformer.training.prediction import make_predict_step

Mode = Literal["forward", "training"]
"""`forward`: class probabilities. `training`: loss and gradient of every parameter, without dropout and without the optimizer's update."""


class MeasuredModel:
    """A classifier, and the program of the step that was prepared last."""

    def __init__(self, encoder: dict[str, Any], vocabulary_size: int, classes: int, maximum_length: int) -> None:
        """Build the classifier that a section `model` of a config describes."""
        config: schema.Model = TypeAdapter(schema.Model).validate_python(encoder)

        def build() -> nnx.Module:
            key = jax.random.key(0)
            return build_classifier(
                config, vocabulary_size=vocabulary_size, classes=classes, maximum_length=maximum_length, pairs=False, key=key
            )

        model: nnx.Module = nnx.eval_shape(build)
        self._graph, self._stepped = nnx.graphdef(model), config.stepped
        self._parameters: Parameters = jax.jit(lambda: nnx.state(build()))()
        self._vocabulary_size, self._classes = vocabulary_size, classes
        self._lowered_text = ""

    @property
    def parameters_without_embeddings(self) -> int:
        """Number of parameters, those of the embedding left out."""
        return count_parameters(self._parameters)["without_embeddings"]

    def count(self, mode: Mode, batch: int, length: int) -> dict[str, Any]:
        """{"work", "span"} of a step, or {"failure"} where the compiled program holds what cannot be counted.

        Attention is counted without the blocks that a CPU takes one after another, since none of them waits for what another gives.
        """
        with attention_at_once():
            lowered = self._lower(mode, batch, length, core_mesh(batch, stepped=False))[0]
        compiled = self._compiled if lowered.as_text() == self._lowered_text else lowered.compile()
        try:
            counted = work_and_span(read_program(compiled.as_text() or ""))
            return {"work": counted.work, "span": counted.span}
        except ValueError as error:
            return {"failure": str(error)}

    def prepare(self, mode: Mode, batch: int, length: int) -> dict[str, Any]:
        """Compile a step and warm it up: {"seconds" of a warm step, "compile_seconds", "peak_bytes"}.

        Compilation is everything from Python to the executable. `peak_bytes` is the memory that the executable asks for, parameters and
        batch included. The rows are split among the cores where training would split them.
        """
        mesh = core_mesh(batch, stepped=self._stepped)
        start = time.perf_counter()
        lowered, self._arguments = self._lower(mode, batch, length, mesh)
        self._compiled = lowered.compile()
        compile_seconds = time.perf_counter() - start
        self._lowered_text = lowered.as_text()
        needed = program_bytes(self._compiled)
        return {
            "seconds": self.run(1),
            "compile_seconds": compile_seconds,
            "peak_bytes": None if needed is None else needed * mesh.size,
        }

    def run(self, steps: int) -> float:
        """Mean seconds of a step; each begins when the one before it is done.

        A step before them is not timed: while other models had their turn, a virtual machine may have given this one's free memory away.
        """
        jax.block_until_ready(self._compiled(*self._arguments))
        start = time.perf_counter()
        for _ in range(steps):
            jax.block_until_ready(self._compiled(*self._arguments))
        return (time.perf_counter() - start) / steps

    def _lower(self, mode: Mode, batch: int, length: int, mesh: Mesh) -> tuple[jax.stages.Lowered, tuple[Parameters, DeviceBatch]]:
        texts = _full_batch(batch, length, self._vocabulary_size, self._classes)
        arguments = replicate(self._parameters, mesh), split_rows(texts, mesh)
        # A function of its own for each call: JAX would take what it traced before, with or without blocks.
        step = jax.jit(make_predict_step(self._graph) if mode == "forward" else partial(self._training))
        with jax.set_mesh(mesh):
            return step.lower(*arguments), arguments

    def _training(self, parameters: Parameters, batch: DeviceBatch) -> tuple[Array, Parameters]:
        def loss(parameters: Parameters) -> Array:
            model: Any = nnx.merge(self._graph, parameters)
            return classification_loss(model(**model_inputs(batch)), batch["labels"], batch["weights"], 0.0)

        return jax.value_and_grad(loss)(parameters)


def measure_rates() -> dict[str, Any]:
    """This process's speed where nothing waits, and where everything does; see `bound.Rates`."""
    size, steps, width = 1024, 10_000, 16
    matrix = jnp.full((size, size), 1e-3)
    vector, weights = jnp.zeros((1, width)), jnp.full((width, width), 1e-2)

    def recurrence(state: Array, weights: Array) -> Array:
        return jax.lax.fori_loop(0, steps, lambda _, state: jnp.tanh(state @ weights), state)

    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    chain = jax.jit(recurrence).lower(vector, weights).compile()
    span = work_and_span(read_program(chain.as_text() or "")).span
    return {
        "operations_per_second_one_core": 2 * size**3 / _fastest(lambda: product(matrix, matrix)),
        "seconds_per_dependent_operation": _fastest(lambda: chain(vector, weights)) / span,
        "how": (
            f"on one core, a float32 product of {size} × {size} matrices, and {steps:,} dependent steps h = tanh(h W) with {width} units, "
            f"{span:,} dependent operations by the same count as the models'; the fastest of {RATE_RUNS} runs of each"
        ),
    }


RATE_RUNS = 9


def _fastest(run: Any) -> float:
    def seconds() -> float:
        start = time.perf_counter()
        jax.block_until_ready(run())
        return time.perf_counter() - start

    return min(seconds() for _ in range(RATE_RUNS))


def _full_batch(batch: int, length: int, vocabulary_size: int, classes: int) -> DeviceBatch:
    """Random texts without padding."""
    random = np.random.default_rng(0)
    return {
        "tokens": random.integers(0, vocabulary_size, (batch, length), dtype=np.int32),
        "segments": np.ones((batch, length), np.int32),
        "positions": np.tile(np.arange(length, dtype=np.int32), (batch, 1)),
        "labels": random.integers(0, classes, batch, dtype=np.int32),
        "weights": np.ones(batch, np.float32),
    }
