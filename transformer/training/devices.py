"""The one place that knows devices: the mesh, how arrays lie on it, and the compilation cache."""

import math
import os
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from transformer.config.errors import UsageError
from transformer.config.schema import Batching
from transformer.data.cache import cache_directory
from transformer.host import peak_resident_bytes


def set_up_jax() -> None:
    """Before JAX is used: keep compiled programs on disk, and have a GPU compute the same bits every time.

    Otherwise a GPU adds up the gradients of the embeddings in whatever order its threads come, and no two trainings, nor one that is
    resumed and one that is not, end alike: two of the same LSTM on Reuters R8, one epoch on an H200, differed by 3 points of accuracy.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true"
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def data_mesh(row_multiple: int, accumulation: int = 1) -> Mesh:
    """A mesh over all devices with one axis, `data`, over which the rows of a batch are split, each of whose pieces they share evenly.

    Raises:
      UsageError: `row_multiple` is no multiple of devices x accumulation, so some batch could not be split evenly.
    """
    count = jax.device_count()
    if row_multiple % (count * accumulation):
        pieces = f" and training.accumulation {accumulation}" if accumulation > 1 else ""
        raise UsageError(
            f"{count} devices{pieces} do not divide batching.row_multiple {row_multiple}; set batching.row_multiple={count * accumulation}"
        )
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,))


def with_divisible_rows(batching: Batching) -> Batching:
    """The same batches, of rows that all devices divide: for predictions, which may run elsewhere than the training did."""
    return batching.model_copy(update={"row_multiple": math.lcm(batching.row_multiple, jax.device_count())})


def split_rows(batch: Any, mesh: Mesh) -> Any:
    """Put a batch on the devices, its rows split among them."""
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Put a copy of every array on each device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def peak_memory() -> int | None:
    """Most bytes in use so far on one device, or in this process where its devices are CPUs; None where nobody tells."""
    if jax.default_backend() == "cpu":
        return peak_resident_bytes()
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    return max((peak for peak in peaks if peak is not None), default=None)


def program_bytes(program: jax.stages.Compiled) -> int | None:
    """Memory that a compiled program asks for: arguments, results and everything between; None where the backend does not tell."""
    memory = program.memory_analysis()
    if memory is None:
        return None
    return int(memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes)
