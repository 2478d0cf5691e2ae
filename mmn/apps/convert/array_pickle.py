"""Reading pickles that hold numbers, without ever running what they name.

A pickle can call anything that it names. Here the names of NumPy arrays, torch tensors and their containers stand for
functions of this module, which check what they are given and make NumPy arrays of it; any other name is refused.
Neither library's own unpickling code runs.
"""

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from mmn.utils.errors import DataError, failed_read

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # that torch begins the bytes of a storage with
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
}


def load_array_pickle(path: str) -> object:
    """The content of a pickle file: dicts, lists, tuples, texts and numbers, with every array or tensor a NumPy array.

    An array may be an object that `numpy.asarray` turns into it. Raises DataError where the file cannot be read, or names
    anything else.
    """
    try:
        with open(path, "rb") as file:
            return _ArrayUnpickler(file).load()
    except OSError as error:
        raise DataError(f"the pickle {path} cannot be read ({failed_read(error)}): check the path") from error
    except _RefusedName as error:
        raise DataError(
            f"the pickle {path} asks for {error}, which is no array or container: it is not read; check where it is from"
        ) from error
    except Exception as error:  # damaged bytes make the unpickler raise nearly everything
        reason = str(error) or type(error).__name__
        raise DataError(f"the pickle {path} is damaged or holds more than arrays ({reason}): fetch it again") from error


class _RefusedName(Exception):
    """module.name of what a pickle asked for."""


class _Call:
    """A function under a name of a pickle. It takes no attributes, since a pickle can set those of what it is given."""

    __slots__ = ("function",)

    def __init__(self, function: Callable):
        object.__setattr__(self, "function", function)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a function cannot be changed")

    def __call__(self, *args):
        return self.function(*args)


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the names of `_NAMES` only."""

    def __init__(self, file):
        super().__init__(file, encoding="latin1")  # what Python 2 wrote arrays with

    def find_class(self, module: str, name: str) -> Callable:
        # NumPy 2 moved its core, and Python 3 its builtins; both names are in use.
        modern = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        known = _NAMES.get((modern, name))
        if known is None:
            raise _RefusedName(f"{module}.{name}")
        return known


class _StorageUnpickler(pickle.Unpickler):
    """Reads the header of a storage: its type is the one name that it may hold, and becomes NumPy's code for it."""

    def find_class(self, module: str, name: str) -> str:
        if module != "torch" or name not in _STORAGES:
            raise _RefusedName(f"{module}.{name}")
        return _STORAGES[name]

    def persistent_load(self, key: tuple) -> tuple:
        return key


def _load_storage(content: bytes) -> np.ndarray:
    """The bytes of torch's older format of a single storage -> its numbers.

    They are pickles of a magic number, a version, the system's sizes, the storage's description and its key, then the
    count and the numbers themselves.
    """
    file = io.BytesIO(content)
    magic, version, system, description, keys = (_StorageUnpickler(file).load() for _ in range(5))
    if (magic, version) != (_MAGIC, _PROTOCOL) or system.get("little_endian") is not True:
        raise ValueError("a storage of another format")
    kind, dtype, key, _, count, view = description
    if kind != "storage" or keys != [key] or view is not None:
        raise ValueError("a storage that is a view of another")
    numbers = file.read()
    if int.from_bytes(numbers[:8], "little") != count or len(numbers) != 8 + count * np.dtype(dtype).itemsize:
        raise ValueError("a storage that is cut off")
    return np.frombuffer(numbers, dtype, offset=8)


def _rebuild_tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: object) -> np.ndarray:
    """A tensor over a storage; sizes are in elements. NumPy refuses what lies outside of it."""
    if not isinstance(storage, np.ndarray) or any(step < 0 for step in stride) or offset < 0:
        raise ValueError("a tensor without its storage")
    item = storage.itemsize
    return np.ndarray(size, storage.dtype, storage, offset * item, tuple(step * item for step in stride))


class _Dtype:
    """numpy.dtype of plain numbers."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, *_: object):
        if not isinstance(code, str) or not re.fullmatch(r"[fiu][1248]|b1", code):
            raise ValueError(f"an array of {code!r}, which is no kind of number")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        _, order, *rest = state
        if order not in ("<", ">", "=", "|") or any(part is not None for part in rest[:3]):
            raise ValueError("an array of structures")
        self.order = order

    def value(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class _Array:
    """numpy.ndarray, which a pickle first makes empty and then fills."""

    __slots__ = ("filled",)

    def __init__(self, *_: object):
        self.filled = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, numbers = state
        self.filled = _from_bytes(_to_bytes(numbers), dtype, shape, "F" if is_fortran else "C")

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if self.filled is None:
            raise ValueError("an array without content")
        return np.array(self.filled, dtype)


def _from_bytes(numbers: bytes, dtype: _Dtype, shape: tuple, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise ValueError("an array without a kind of number")
    return np.frombuffer(numbers, dtype.value()).reshape(shape, order=order)


def _scalar(dtype: _Dtype, number: object) -> int | float | bool:
    return _from_bytes(_to_bytes(number), dtype, (), "C").item()


def _to_bytes(numbers: object) -> bytes:
    """Bytes, or the text that Python 2 wrote them as."""
    return numbers.encode("latin1") if isinstance(numbers, str) else bytes(memoryview(numbers))


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes as a text in {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """The empty bytes that older protocols call for."""
    return b""


_NAMES = {
    ("collections", "OrderedDict"): _Call(OrderedDict),
    ("_codecs", "encode"): _Call(_encode),
    ("builtins", "bytes"): _Call(_no_bytes),
    ("numpy", "ndarray"): _Call(_Array),  # an argument of _reconstruct
    ("numpy", "dtype"): _Call(_Dtype),
    ("numpy.core.multiarray", "_reconstruct"): _Call(_Array),
    ("numpy.core.multiarray", "scalar"): _Call(_scalar),
    ("numpy.core.numeric", "_frombuffer"): _Call(_from_bytes),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_rebuild_tensor),
    ("torch.storage", "_load_from_bytes"): _Call(_load_storage),
}
