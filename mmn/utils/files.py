"""Files written whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

from mmn.utils.errors import UserError


@contextlib.contextmanager
def atomic_path(path: str) -> Iterator[str]:
    """A temporary path beside `path`, which it replaces when the block ends well; otherwise `path` stays as it was.

    Raises UserError where the place cannot be written or the disk is full.
    """
    folder = os.path.dirname(os.path.abspath(path))
    temporary = None
    try:
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.", suffix=".tmp")
        os.close(handle)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}): what was there before is untouched; free some "
            "space or choose another place"
        ) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
