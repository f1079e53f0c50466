"""The process and its machine: settings made before JAX takes any memory, and how much it took."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

# XLA on CPUs allocates its temporary buffers anew at every step, glibc returns large blocks to the system each time, and each comes back
# as thousands of page faults: 110,000 a step (d = 256, 4 layers, 4,096 tokens), 520 ms. Huge pages make that 1,100 faults and 310 ms, at
# no cost in memory. One arena, since a thread's own would keep its freed blocks from the others.
HUGE_PAGES = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"

# Where there are no huge pages, nothing is returned: 9,000 faults, 290 ms, at 1.4 times the memory, since the heap fragments.
KEEP_ALL = {-8: 1, -4: 0, -1: 2**31 - 1, -2: 256 * 2**20}  # M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD (mallopt.3)


def make_allocation_cheap() -> None:
    """Set up glibc for large blocks that come and go (Linux with glibc only; nothing happens elsewhere).

    Call it first in a program: glibc reads the setting for huge pages when a process starts, so this starts the program anew, once, with
    the same process number. A GLIBC_TUNABLES that the user has set stays as it is.
    """
    name, version = platform.libc_ver()
    if platform.system() != "Linux" or name != "glibc" or "GLIBC_TUNABLES" in os.environ:
        return
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if tuple(map(int, version.split("."))) >= (2, 35) and setting.exists() and "[never]" not in setting.read_text():
        os.environ["GLIBC_TUNABLES"] = HUGE_PAGES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (the same program again)
    library = ctypes.CDLL(None)
    for parameter, value in KEEP_ALL.items():
        library.mallopt(parameter, value)


CONTAINER_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor time that a container gets in a period, or "max", and the period (Linux, cgroup v2)."""


def usable_cores() -> int:
    """Number of processor cores that this process may use; in a container, as many as its share of processor time keeps busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share, period = CONTAINER_LIMIT.read_text().split() if CONTAINER_LIMIT.exists() else ("max", "")
    return cores if share == "max" else max(min(cores, int(share) // int(period)), 1)


def peak_resident_bytes() -> int | None:
    """Highest resident memory of this process so far; None where the system does not tell (elsewhere than on Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024


def commit() -> str | None:
    """The project's commit, with `-dirty` where files differ from it; None where git or its history is absent."""
    if shutil.which("git") is None:
        return None
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return git.stdout.strip() or None
