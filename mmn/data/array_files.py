"""Files with the array of one video: npz, npy and pt. No file is trusted: none can make this program run code of its own.

A whole npz or pt file is read at once and taken apart in memory: the libraries' own small reads take longer than that.
"""

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from mmn.data.features import WrongContent
from mmn.data.lookalikes import SHOWN_IDS
from mmn.utils.errors import listed
from mmn.utils.hdf5 import HDF5_ERRORS

DAMAGE = (  # what reading a damaged file raises
    *(*HDF5_ERRORS, zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError),
    *(AttributeError, IndexError, AssertionError, ImportError),
)
PICKLE_REFUSED = "Python objects are not read, since they can run code"


def read_npz(path: str, key: str, where: str) -> np.ndarray:
    """The array `key` of an npz file.

    Args:
        where: the video and its file, for messages.
    Raises WrongContent where it has no such array or is another kind of file; errors of DAMAGE where it is damaged.
    """
    archive = _numpy_content(io.BytesIO(Path(path).read_bytes()), where)
    if isinstance(archive, np.ndarray):
        raise WrongContent(f"{where} is one array, not an npz archive: say format: npy in the catalog entry")
    if key not in archive.files:
        raise _no_such_key(where, key, archive.files)
    try:
        return archive[key]
    except ValueError as error:
        raise _refused(where, error) from error


def read_npy(path: str, key: str, where: str) -> np.ndarray:
    """The array of an npy file, mapped into memory, since a selection may need little of it. Errors as in `read_npz`."""
    array = _numpy_content(path, where, mmap_mode="r")
    if not isinstance(array, np.ndarray):
        raise WrongContent(f"{where} is an npz archive, not one array: say format: npz in the catalog entry")
    return np.asarray(array)


def read_pt(path: str, key: str, where: str) -> np.ndarray:
    """The tensor of a file of torch.save, or the one called `key` of a dict of them. Errors as in `read_npz`."""
    try:
        content = torch.load(io.BytesIO(Path(path).read_bytes()), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WrongContent(
            f"{where} is damaged, or holds more than tensors ({PICKLE_REFUSED}): fetch it again, or save a tensor"
        ) from error
    if key and isinstance(content, Mapping):
        if key not in content:
            raise _no_such_key(where, key, map(str, content))
        content = content[key]
    if isinstance(content, Mapping):
        raise _no_such_key(where, key, map(str, content))
    if not isinstance(content, torch.Tensor) or content.layout != torch.strided:
        raise WrongContent(f"{where} holds a {type(content).__name__}, not a tensor of rows: save one")
    content = content.detach()
    return (content.float() if content.is_floating_point() else content).numpy()  # NumPy has no bfloat16


READERS = {"npz": read_npz, "npy": read_npy, "pt": read_pt}  # by the format of a track
MAPPED = ("npy",)  # formats of which only what is looked at is read


def _numpy_content(source, where: str, **options) -> np.ndarray | np.lib.npyio.NpzFile:
    try:
        return np.load(source, allow_pickle=False, **options)
    except ValueError as error:
        raise _refused(where, error) from error


def _refused(where: str, error: ValueError) -> Exception:
    """The error for a file of Python objects, or of no known kind; any other error as it is."""
    if "allow_pickle" in str(error) or "Python objects" in str(error):
        return WrongContent(
            f"{where} holds no array of numbers ({PICKLE_REFUSED}): fetch it again, or save an array of numbers"
        )
    return error


def _no_such_key(where: str, key: str, found) -> WrongContent:
    names = listed(found, SHOWN_IDS) or "none"
    return WrongContent(f"{where} has no array {key!r} (there are {names}): correct `key` in the catalog entry")
