"""The one place that knows devices: the mesh, how arrays lie on it, and the compilation cache."""

import math
import os
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from transformer.config.errors import UsageError
from transformer.config.schema import Batching
from transformer.data.cache import cache_directory
from transformer.host import peak_resident_bytes, usable_cores


def set_up_jax() -> None:
    """Before JAX is used: keep compiled programs on disk, make a device of each core, and have a GPU compute the same bits every time.

    Otherwise a GPU adds up the gradients of the embeddings in whatever order its threads come, and no two trainings, nor one that is
    resumed and one that is not, end alike: two of the same LSTM on Reuters R8, one epoch on an H200, differed by 3 points of accuracy.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true"
    make_cores_devices()
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def make_cores_devices() -> None:
    """Before JAX is used: each processor core becomes a device, or as many as JAX_NUM_CPU_DEVICES says; none does where XLA_FLAGS has
    xla_force_host_platform_device_count, which plays another machine's devices."""
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", "") and jax.config.values["jax_num_cpu_devices"] < 0:
        jax.config.update("jax_num_cpu_devices", usable_cores())


def _devices_are_cores() -> bool:
    return jax.default_backend() == "cpu" and jax.config.values["jax_num_cpu_devices"] > 0


def data_mesh(row_multiple: int, accumulation: int = 1, *, stepped: bool = False) -> Mesh:
    """A mesh over all devices with one axis, `data`, over which the rows of a batch are split, each of whose pieces they share evenly.

    Where the devices are a processor's cores, see `core_mesh`.

    Raises:
        UsageError: `row_multiple` is no multiple of devices x accumulation, so some batch could not be split evenly.
    """
    if _devices_are_cores():
        return core_mesh(row_multiple // accumulation, stepped=stepped)
    count = jax.device_count()
    if row_multiple % (count * accumulation):
        pieces = f" and training.accumulation {accumulation}" if accumulation > 1 else ""
        raise UsageError(
            f"{count} devices{pieces} do not divide batching.row_multiple {row_multiple}; set batching.row_multiple={count * accumulation}"
        )
    return _mesh(count)


def core_mesh(rows: int, *, stepped: bool) -> Mesh:
    """One device; or, for a model that reads token after token, as many cores as share the rows evenly.

    XLA shares an operation among the cores by itself, but the operations of a loop over tokens are too small for it, and leave all cores
    but one idle. So there each core gets rows of its own.
    """
    if not (stepped and _devices_are_cores()):
        return _mesh(1)
    return _mesh(max(count for count in range(1, jax.device_count() + 1) if rows % count == 0))


def _mesh(count: int) -> Mesh:
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])


def with_divisible_rows(batching: Batching) -> Batching:
    """The same batches, of rows that all devices divide: for predictions, which may run elsewhere than the training did."""
    count = 1 if _devices_are_cores() else jax.device_count()
    return batching.model_copy(update={"row_multiple": math.lcm(batching.row_multiple, count)})


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
