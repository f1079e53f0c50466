"""Where, when and by which command figures were measured."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from transformer.host import commit

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


def provenance() -> dict[str, Any]:
    """What stands at the head of every file of figures: {"command", "date", "commit", "machine"}."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "memory_bytes": memory_bytes(),
            "system": platform.platform(),
            **_device(),
            "versions": {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in LIBRARIES}},
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


def _device() -> dict[str, str]:
    import jax  # here, since a benchmark of other libraries asks for the rest where JAX is absent

    return {"device": jax.default_backend(), "device_name": jax.devices()[0].device_kind}
