"""A run as a StableHLO program for any number of texts of any length, and a script that needs nothing of this project."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, export

from transformer.config import schema
from transformer.export.card import stablehlo_card
from transformer.export.tasks import reads_pairs, task_of
from transformer.model.parameter_paths import flat, nested
from transformer.training.objective import DeviceBatch
from transformer.training.run import Run

PLATFORMS = ("cpu", "cuda", "tpu")
SCRIPT = Path(__file__).with_name("predict.py")


def export_stablehlo(run: Run, directory: Path, name: str) -> None:
    """Write program, parameters, tokenizer, script and model card into an empty directory that will have this name.

    The parameters lie beside the program and are its first argument: inside, XLA would take each for a constant and compile it into every
    shape's program, and the file could not grow beyond 2 GiB. They are a NumPy archive, so that reading them needs no further library.
    """
    parameters = {path: np.asarray(leaf) for path, leaf in flat(nnx.to_pure_dict(run.parameters)).items()}
    (directory / "program.bin").write_bytes(bytes(export_program(run, parameters).serialize()))
    np.savez(directory / "parameters.npz", allow_pickle=False, **parameters)
    (directory / "tokenizer.json").write_text(run.tokenizer.to_str(pretty=True), encoding="utf-8")
    settings = {
        "objective": run.config.objective.kind,
        "maximum_length": run.config.data.maximum_length,
        "pairs": reads_pairs(run.config),
        "padding": run.special.padding,
        "mask": run.special.mask,
        "jax": jax.__version__,
    }
    (directory / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    if task_of(run.config.objective).labels:
        (directory / "labels.json").write_text(json.dumps(run.labels, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(SCRIPT, directory / "predict.py")
    (directory / "README.md").write_text(stablehlo_card(run, name), encoding="utf-8")


def export_program(run: Run, parameters: dict[str, np.ndarray]) -> export.Exported:
    """The function ({path: parameter}, batch) -> result for all platforms, the batch being a dictionary of arrays [batch, length].

    The result is that of `make_predict_step`, class probabilities [batch, classes]; of a masked language model, which has
    `selected` [batch, masked] in its batch, the probabilities [batch, masked, vocabulary] of the tokens at these columns; and of a
    contrastive model, unit vectors [batch, width]. The length is a symbol, but for models with a parallel scan over it, which JAX cannot
    express so: there it is `data.maximum_length`.
    """
    config, task = run.config, task_of(run.config.objective)
    batch_size, length, masked = export.symbolic_shape("batch, length, masked")
    if isinstance(config.model, schema.Recurrent) and config.model.kind in {"mingru", "minlstm"}:
        length = config.data.maximum_length
    names = ["tokens", "segments", "positions", *(["types"] if reads_pairs(config) else [])]
    batch = {name: jax.ShapeDtypeStruct((batch_size, length), jnp.int32) for name in names}
    if task.gaps:
        batch["selected"] = jax.ShapeDtypeStruct((batch_size, masked), jnp.int32)
    step = task.step(run.graph)

    def program(parameters: dict[str, Array], batch: DeviceBatch) -> Array:
        # Without values, so that none can become a constant of the program.
        state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), run.parameters)
        nnx.replace_by_pure_dict(state, nested(parameters))
        return step(state, batch)

    shapes = {path: jax.ShapeDtypeStruct(array.shape, array.dtype) for path, array in parameters.items()}
    return export.export(jax.jit(program), platforms=PLATFORMS)(shapes, batch)
