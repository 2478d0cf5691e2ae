"""Opening HDF5 files to be read: every reader's errors are those of this file."""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator

import h5py

from mmn.utils.errors import DataError

# What h5py raises for a file that is not as it should be: damaged, or not to be read at the moment.
HDF5_ERRORS = (OSError, RuntimeError, ValueError, TypeError, KeyError, MemoryError)
SIGNATURE = b"\x89HDF\r\n\x1a\n"  # at the start, or after a user block of 512, 1024, 2048, ... bytes
# First bytes of files that are taken for HDF5: broken downloads, and arrays of other programs.
FOREIGN = {
    b"PK\x03\x04": "a zip archive, such as .npz or .pth",
    b"\x93NUMPY": "a NumPy array",
    b"\x80": "a pickle",
    b"\x1f\x8b": "gzip, to be unpacked first",
    b"MATLAB 5.0": "a MATLAB file of before version 7.3",
    b"version https://git-lfs": "a pointer of Git LFS, whose file is fetched by `git lfs pull`",
    b"<": "a page of HTML or XML, as a failed download leaves it",
    b"{": "json",
}


def open_hdf5(path: str, what: str, missing: str = "correct the path", damaged: str = "fetch it again") -> h5py.File:
    """The file at `path`, opened by h5py to be read.

    Args:
        what: name of its kind before the path in messages, such as "the feature file".
        missing: remedy where it is not there.
        damaged: remedy where it is cut off or damaged.
    Raises DataError, which tells apart: no such file, a folder, no regular file, another kind of file, not to be read by
    this user, open for writing in another program, on a file system without locks, cut off, damaged in another way.
    """
    _check_kind(path, what, missing)
    try:
        return h5py.File(path, "r")
    except HDF5_ERRORS as error:
        raise DataError(f"{what} {path} {_reason(path, error, missing, damaged)}") from error


@contextlib.contextmanager
def reading(what: str, damaged: str = "fetch the file again") -> Iterator[None]:
    """Turn the errors of reading from an open HDF5 file into DataError, which says that `what` cannot be read."""
    try:
        yield
    except HDF5_ERRORS as error:
        raise DataError(
            f"{what} cannot be read ({_words(error)}): if no other program is writing to the file, it is damaged, so "
            f"{damaged}"
        ) from error


def _check_kind(path: str, what: str, missing: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DataError(f"{what} {path} does not exist: {missing}") from error
    except OSError as error:
        raise DataError(f"{what} {path} cannot be read ({error.strerror}): make it readable") from error
    if stat.S_ISDIR(mode):
        raise DataError(f"{what} {path} is a folder: name a file in it")
    if not stat.S_ISREG(mode):
        raise DataError(f"{what} {path} is a pipe or a device: give a regular file")


def _reason(path: str, error: Exception, missing: str, damaged: str) -> str:
    """The end of the sentence about a regular file that does not open."""
    words, number = _words(error), getattr(error, "errno", None)
    if "unable to lock file" in words:
        held = re.search(rf"errno = ({errno.EAGAIN}|{errno.EACCES})\b", words)
        if held:
            return "is open for writing in another program: wait for it, or close it there"
        return (
            f"cannot be locked, as its file system has no locks ({words}): set HDF5_USE_FILE_LOCKING=FALSE in the "
            "environment where no other program writes to it"
        )
    if "already open for" in words:
        return (
            "is open for writing in another program, or was when that one was killed: wait for it, or close it there; "
            "where none has it open, `h5clear -s` of the HDF5 tools takes the mark off"
        )
    if isinstance(error, FileNotFoundError):
        return f"does not exist: {missing}"
    if number in (errno.EACCES, errno.EPERM):
        return "cannot be read (permission denied): make it readable"
    try:
        start = _start(path)
    except OSError as failure:
        return f"cannot be read ({failure.strerror}): try again, or {damaged}"
    if start is not None:
        return f"is no HDF5 file{start}: {damaged}, or correct the path"
    cut = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", words)
    if cut:
        return f"is cut off, with {cut[1]} of its {cut[2]} bytes: wait if a program is still writing it, else {damaged}"
    return f"cannot be opened ({words}): {damaged} if it is damaged"


def _start(path: str) -> str | None:
    """A guess at the kind of a file that is no HDF5 file, in words for a message; None where it is one."""
    size = os.path.getsize(path)
    if not size:
        return " but empty"
    with open(path, "rb") as file:
        head = file.read(len(SIGNATURE) * 4)
        place = 0
        while place < size:
            file.seek(place)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return None
            place = max(512, place * 2)
    kind = next((kind for start, kind in FOREIGN.items() if head.lstrip(b"\xef\xbb\xbf").startswith(start)), None)
    return f" but {kind}" if kind else ""


def _words(error: Exception) -> str:
    """The error's own words on one line."""
    return " ".join(str(error.args[-1] if error.args else error).split()) or type(error).__name__
