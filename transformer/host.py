"""Settings of the process, made before JAX takes any memory."""

import ctypes
import platform


def keep_freed_memory() -> None:
    """Let glibc keep what is freed (Linux with glibc only; nothing happens elsewhere).

    XLA on CPUs allocates its temporary buffers anew at every step, and glibc returns large blocks to the system each time.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    for parameter, value in ((-8, 1), (-4, 0), (-1, 2**31 - 1), (-2, 256 * 2**20)):
        library.mallopt(parameter, value)
