"""Processors of the machine that this process has."""

import os


def num_processors() -> int:
    """Number of processors that this process may run on, which a batch system may have made fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
