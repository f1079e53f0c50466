"""What every test runs under: shapes and types checked, no network, CPU, compiled functions kept between runs."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
OFFLINE = str(ROOT / "tests" / "offline")

# Set before JAX and the hub's client are imported, and inherited by the commands that tests start.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# The first flag is that of every command, or they would share no compiled programs; with the second, cores do not become devices, which
# would have to happen before a test process uses JAX. Most of the tests' time is compilation: the third takes a fifth of it away.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_gpu_deterministic_ops=true --xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0",
)
os.environ["HF_HUB_OFFLINE"] = "1"
# Tests find nothing in the cache of whoever runs them and leave nothing there; tests/parity looks there for weights that it cannot fetch.
os.environ.setdefault("USERS_CACHE", os.environ.get("ENCODER_TRAINER_CACHE", ""))  # of the first process: xdist starts others
os.environ["ENCODER_TRAINER_CACHE"] = tempfile.mkdtemp(prefix="encoder-trainer-tests-")
atexit.register(shutil.rmtree, os.environ["ENCODER_TRAINER_CACHE"], ignore_errors=True)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [OFFLINE, str(ROOT), os.environ.get("PYTHONPATH")]))
sys.path.insert(0, OFFLINE)

import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import sitecustomize  # noqa: E402, F401

jaxtyping.install_import_hook("transformer", "beartype.beartype")

# A deadline would measure compilation. In CI the examples are always the same, so that a failure is the change's own.
hypothesis.settings.register_profile("tests", deadline=None, derandomize="CI" in os.environ, print_blob=True, max_examples=50)
hypothesis.settings.load_profile("tests")
