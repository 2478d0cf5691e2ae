"""The system's cache of files: having it read beforehand what is going to be read in small pieces."""

import os
from pathlib import Path

SHARE = 0.5  # of the memory that is available, which files may take
PIECE = 2**20  # bytes; of one request the system reads no more than a few MB


def read_ahead(folder: str | os.PathLike) -> bool:
    """Have the system read all files below a folder into its cache, while this process goes on.

    Returns:
        whether it was asked to: not where they would take more than SHARE of the available memory, nor where the system
        cannot be asked (it is Linux that can).
    """
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    if not hasattr(os, "posix_fadvise") or sum(path.stat().st_size for path in files) > SHARE * available_memory():
        return False
    for path in files:
        with open(path, "rb") as file:
            for start in range(0, os.fstat(file.fileno()).st_size, PIECE):
                os.posix_fadvise(file.fileno(), start, PIECE, os.POSIX_FADV_WILLNEED)
    return True


def available_memory() -> int:
    """Bytes that could be used without pushing out what other programs use; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 0)
