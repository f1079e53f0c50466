"""Settings of the process, made before JAX takes any memory."""

import ctypes
import platform

# Parameters of glibc's mallopt. Page faults a training step (d = 256, 4 layers, 4,096 tokens): 60,000 with none of these, or without
# ONE_ARENA; 31,000 with trimming at 512 MiB; 7,500 with all. The price is memory, 1.2 to 1.4 GB at the peak where it was 0.75, since the
# heap is kept whole and fragments.
ONE_ARENA = (-8, 1)  # M_ARENA_MAX; the arenas of other threads are too small for XLA's buffers
NO_MAPPED_BLOCKS = (-4, 0)  # M_MMAP_MAX; a mapped block goes back to the system when it is freed
NEVER_TRIM = (-1, 2**31 - 1)  # M_TRIM_THRESHOLD
GROW_IN_LARGE_STEPS = (-2, 256 * 2**20)  # M_TOP_PAD, bytes


def keep_freed_memory() -> None:
    """Let glibc keep what is freed (Linux with glibc only; nothing happens elsewhere).

    XLA on CPUs allocates its temporary buffers anew at every step, and glibc returns large blocks to the system each time.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    for parameter, value in (ONE_ARENA, NO_MAPPED_BLOCKS, NEVER_TRIM, GROW_IN_LARGE_STEPS):
        library.mallopt(parameter, value)
