"""Files written whole or not at all."""

import contextlib
import errno
import os
import re
import tempfile
import time
from collections.abc import Iterator
from typing import BinaryIO

from mmn.utils.errors import UserError

try:
    import fcntl
except ImportError as error:
    raise UserError("this system has no file locks: mmn runs on Linux and macOS, and on Windows inside WSL") from error

LOCK_FILE = ".lock"  # of `FolderLock`
TEMPORARY_MARK = ".mmn-"  # in the names of temporary files, by which leftovers are known as ours


@contextlib.contextmanager
def atomic_path(path: str) -> Iterator[str]:
    """A temporary path beside `path`, which it replaces when the block ends well; otherwise `path` stays as it was.

    Raises UserError where the place cannot be written or the disk is full.
    """
    folder = os.path.dirname(os.path.abspath(path))
    temporary = None
    try:
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=folder, prefix=f".{os.path.basename(path)}{TEMPORARY_MARK}", suffix=".tmp"
        )
        os.close(handle)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private, and so do writers that replace it
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        sync_folder(folder)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}): what was there before is untouched; free some "
            "space or choose another place"
        ) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def make_folder(path: str, place: str) -> None:
    """Make a folder where there is none. Raises UserError where that cannot be, as where a file stands.

    Args:
        place: the config key or flag that names it, for messages.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{place} {path} must be a folder, but a file stands there: name another") from error
    except OSError as error:
        raise UserError(f"{place} {path} cannot be made ({error.strerror}): name another") from error


def sync_folder(folder: str) -> None:
    """Make a rename in the folder last through a power failure, where the system can open folders."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: str, name: str | None = None) -> None:
    """Delete the temporary files of `atomic_path` that processes killed while writing have left in a folder.

    Only for a folder that nobody else is writing to, see `FolderLock`.

    Args:
        name: only those of the file of this name.
    """
    stem = ".+" if name is None else re.escape(name)
    for entry in os.scandir(folder):
        # mkstemp's eight characters; whatever else ends in .tmp is somebody else's.
        is_ours = re.fullmatch(rf"\.{stem}{re.escape(TEMPORARY_MARK)}[a-z0-9_]{{8}}\.tmp", entry.name)
        if is_ours and entry.is_file(follow_symlinks=False):
            os.unlink(entry.path)


@contextlib.contextmanager
def file_lock(path: str, patience: float = 60.0) -> Iterator[None]:
    """Hold a lock for a moment, on a file that is made where it is not there; waits for others who hold it.

    Two holders of one process keep each other out too, and the system takes it from a process that dies.
    Raises UserError where it is still held after `patience` seconds, or the file cannot be made.
    """
    try:
        file = open(path, "ab")  # noqa: SIM115, closed below
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): choose another place, or make it writable"
        ) from error
    with file:
        deadline = time.monotonic() + patience
        while not try_flock(file):
            if time.monotonic() > deadline:
                raise UserError(f"another process has held {path} for {patience:g} seconds: stop it, then try again")
            time.sleep(0.005)
        yield


def try_flock(file: BinaryIO) -> bool:
    """Lock an open file, unless somebody else has. A file system without locks has nobody else."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


class FolderLock:
    """Keeps a second run out of a folder until this process ends, however it ends.

    Args:
        folder: must exist.
        patience: seconds to wait for a process that is about to end.
        place: the config key or flag that names the folder, for messages.
    Raises UserError where another process holds the folder, or nothing can be written there.
    """

    def __init__(self, folder: str, patience: float = 20.0, place: str = "folder"):
        path = os.path.join(folder, LOCK_FILE)
        try:
            self.file = open(path, "w")  # noqa: SIM115, it stays open as long as the lock is held
        except OSError as error:
            raise UserError(f"{folder} cannot be written to ({error.strerror}): choose another {place}") from error
        deadline = time.monotonic() + patience
        while not self._try_lock():
            if time.monotonic() > deadline:
                raise UserError(f"another run is writing to {folder}: wait for it, stop it, or choose another {place}")
            time.sleep(0.2)

    def release(self) -> None:
        """Let others in before this process ends."""
        self.file.close()

    def _try_lock(self) -> bool:
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, forked workers do not inherit it
        except OSError as error:
            return error.errno not in (errno.EACCES, errno.EAGAIN)  # a file system without locks: go on without
        return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
