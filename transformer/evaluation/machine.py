"""Where, when and by which command figures were measured."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from transformer.host import commit, usable_cores

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


def provenance(*, libraries: bool = True) -> dict[str, Any]:
    """What stands at the head of every file of figures: {"command", "date", "commit", "machine"}.

    Without `libraries` neither their versions nor JAX's device: none of them needs to be there.
    """
    return {
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
        "machine": {
            "processor": processor(),
            "cores": usable_cores(),
            "memory_bytes": memory_bytes(),
            "system": platform.platform(),
            **(_libraries() if libraries else {}),
        },
    }


def processor() -> str:
    """The processor's name."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _libraries() -> dict[str, Any]:
    import jax  # here, since a benchmark of other libraries asks for the rest where JAX is absent

    return {
        "device": jax.default_backend(),
        "device_name": jax.devices()[0].device_kind,
        "versions": {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in LIBRARIES}},
    }
