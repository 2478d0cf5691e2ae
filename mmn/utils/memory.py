"""Memory of this process: its peak, and reuse of what was freed."""

import ctypes
import os
import platform

import torch

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def reuse_freed_memory() -> bool:
    """Let malloc keep freed memory of this process instead of handing it back to the system each time.

    glibc maps large blocks afresh and unmaps them when freed, so every large temporary tensor costs page faults. The
    price is that the process keeps its peak memory until it ends. Call it once, early; it does nothing but on Linux
    with glibc.

    Returns:
        whether it took effect.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 << 20}
    accepted = [mallopt(name, value) for name, value in settings.items()]
    return all(accepted)


def peak_memory_mb(device: torch.device) -> float:
    """The most memory used so far in MB: of the GPU where `device` is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1024**2
    if not os.path.exists("/proc/self/status"):
        import resource  # macOS counts bytes here

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    # Not getrusage: a process that was forked from a large one starts with that one's peak.
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))
