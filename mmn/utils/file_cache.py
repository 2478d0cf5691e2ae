"""The system's cache of files: having it read beforehand what is going to be read in small pieces."""

import contextlib
import os
from pathlib import Path

SHARE = 0.5  # of the memory that is available, which files may take
PIECE = 2**20  # bytes; of one request the system reads no more than a few MB


def read_ahead(folder: str | os.PathLike) -> bool:
    """Have the system read all files below a folder into its cache, while this process goes on.

    Returns:
        whether it was asked to: not where they would take more than SHARE of the available memory, nor where the system
        cannot be asked (it is Linux that can). A file that another process deletes meanwhile is passed over.
    """
    sizes = {path: size for path in Path(folder).rglob("*") if (size := _size(path))}
    if not hasattr(os, "posix_fadvise") or sum(sizes.values()) > SHARE * available_memory():
        return False
    for path, size in sizes.items():
        with contextlib.suppress(OSError), open(path, "rb") as file:
            for start in range(0, size, PIECE):
                os.posix_fadvise(file.fileno(), start, PIECE, os.POSIX_FADV_WILLNEED)
    return True


def _size(path: Path) -> int:
    """Bytes of a file; 0 for what is none, or is gone."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def available_memory() -> int:
    """Bytes that could be used without pushing out what other programs use; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 0)
