"""Reading one video's rows of a feature track and resampling them to a fixed number of clips (SPEC section 1)."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import h5py
import numpy as np

from mmn.data.lookalikes import lookalikes
from mmn.structures.recipe import FeatureRecipe
from mmn.structures.rows_id import RowsId, fill, found_by, shown
from mmn.structures.selection import Selection
from mmn.utils.attributes import number_attribute
from mmn.utils.errors import DataError, listed
from mmn.utils.hdf5 import open_hdf5, reading
from mmn.utils.logger import get_logger

T = TypeVar("T")
NUMBERS = "fiu"  # kinds of dtype that feature rows may have: real numbers, whole ones too


def clip_boundaries(num_rows: int, num_clips: int, uses_last_row: bool = False) -> np.ndarray:
    """[P + 1] int64: clip p is the mean of rows boundary p .. boundary p+1 - 1, or row boundary p where that is empty.

    round_half_even(p / P * T0) in float32, clamped to T0 - 1. So the last source row is used only where the last range
    is empty: the released weights were trained so. With `uses_last_row` nothing is clamped, as for tubes (SPEC section 8).
    """
    positions = np.arange(num_clips + 1, dtype=np.float32) / np.float32(num_clips) * np.float32(num_rows)
    return np.minimum(np.rint(positions), num_rows - (not uses_last_row)).astype(np.int64)


def resample_clips(
    rows: np.ndarray, num_clips: int, uses_last_row: bool = False, widths: Sequence[int] | None = None
) -> np.ndarray:
    """Source rows [T0, D] -> L2-normalised and averaged clips [P, D], float32; see `clip_boundaries`.

    Args:
        widths: those of the tracks that the rows are joined of, whose sum is D; each is normalised by itself. By default
            there is one.
    """
    rows = _normalised(rows.astype(np.float32, copy=False), widths)
    boundaries = clip_boundaries(len(rows), num_clips, uses_last_row)
    first = np.minimum(boundaries[:-1], len(rows) - 1)
    counts = np.maximum(np.diff(boundaries), 1)  # row `first` alone where the range is empty
    sums = rows[first]
    for number in range(1, counts.max()):  # the second rows of all clips, then the third, ...
        longer = np.flatnonzero(counts > number)
        sums[longer] += rows[first[longer] + number]
    return sums / counts.astype(np.float32)[:, None]


def _normalised(rows: np.ndarray, widths: Sequence[int] | None) -> np.ndarray:
    """Rows of which each track's part has norm 1; a part that is zero stays so."""
    if widths is None or len(widths) == 1:
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.maximum(norms, np.float32(1e-12))
    parts = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    return np.concatenate([_normalised(part, None) for part in parts], axis=1)


def checked_rows(rows: np.ndarray, input_size: int, where: str) -> np.ndarray:
    """Feature rows [T0, D] of one video, of any real or whole numbers, as float32.

    Args:
        input_size: D, the width that the model expects.
        where: whose they are, for messages.
    Raises DataError where they have another shape than [T0 > 0, D], or are not finite numbers.
    """
    check_shape(np.shape(rows), input_size, where)
    if rows.dtype.kind not in NUMBERS:
        raise DataError(f"{where} holds values of type {rows.dtype}, not finite numbers: make its features again")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        values = rows.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise DataError(f"{where} holds values that are not finite numbers: extract its features again")
    return values


def check_shape(of: Sequence[int], input_size: int, where: str) -> None:
    """Raise DataError where the shape `of` a video's array is not [T0 > 0, D]; see `checked_rows`."""
    shape = list(of)
    if len(shape) != 2 or 0 in shape:
        lack = f"{len(shape)} dimensions" if len(shape) != 2 else "0 rows" if not shape[0] else "0 columns"
        remedy = "" if len(shape) == 2 else "correct the selection in the catalog entry, or "
        raise DataError(
            f"{where} has shape {shape}, that is, {lack}: it must have at least one row of {input_size} numbers, so "
            f"{remedy}make its features again"
        )
    if shape[1] != input_size:
        raise DataError(
            f"{where} has shape {shape}, but the model expects [rows, {input_size}]: correct "
            "MODEL.MMN.FEATPOOL.INPUT_SIZE or the file"
        )


class RowsInParts(NamedTuple):
    """The feature rows of a video, of which parts can be had.

    Attributes:
        num_rows: T0.
        read: range of them -> those rows [n, D] float32. Raises DataError where they cannot be read or are not finite.
    """

    num_rows: int
    read: Callable[[slice], np.ndarray]


class WrongContent(DataError):
    """A file that can be read, but does not hold what it should: reading it once more would not help."""


class FeatureReader(ABC):
    """The source of one feature track's rows.

    Args:
        path: file or folder.
        input_size: D, the width that the model expects.
        waits: seconds before each further attempt at a read that fails, as network file systems' do for moments.
        selection: part of a video's array that makes its rows, see `mmn.structures.selection`.
    """

    def __init__(self, path: str, input_size: int, waits: Sequence[float] = (0.1, 0.5, 2.0), selection: Selection = ()):
        self.path = path
        self.input_size = input_size
        self.waits = waits
        self.selection = selection

    @abstractmethod
    def open(self) -> object:
        """Make ready to read. Raises DataError where there is no such file or folder, or it is damaged."""

    def duration(self, rows_id: RowsId) -> float | None:
        """Seconds of a video; None where the source does not say."""
        return None

    @abstractmethod
    def check(self, rows_ids: Iterable[RowsId]) -> None:
        """Raise DataError unless every video is there, the first one of the right width."""

    @abstractmethod
    def where(self, rows_id: RowsId) -> str:
        """The video in a sentence, with the file that it is in."""

    @abstractmethod
    def load(self, rows_id: RowsId) -> np.ndarray:
        """The array of a video as the file has it. Raises DataError where it cannot be read, WrongContent for no array."""

    def recipe(self) -> FeatureRecipe | None:
        """Recipe of the features, where the file says so. Raises DataError where it cannot be read."""
        return None

    def close(self) -> None:  # noqa: B027, not all hold files
        """Let go of open files."""

    def read(self, rows_id: RowsId) -> np.ndarray:
        """All feature rows of a video, [T0, D] float32.

        Raises DataError where they cannot be read, have another shape than [T0 > 0, D], or are not finite.
        """
        return self.checked(self._array(rows_id), self.where(rows_id))

    def in_parts(self, rows_id: RowsId) -> RowsInParts:
        """The rows that `read` gives, of which a part is read alone where the format allows; all are read here where not.

        Raises DataError where they cannot be read or have another shape.
        """
        rows = self.read(rows_id)
        return RowsInParts(len(rows), rows.__getitem__)

    def _array(self, rows_id: RowsId) -> np.ndarray:
        """The rows of a video as the file has them."""
        array = self._patiently(lambda: self.load(rows_id))
        return self._selected(array, self.where(rows_id)) if self.selection else array

    def checked(self, rows: np.ndarray, where: str) -> np.ndarray:
        """Rows that were read of a video, as float32; see `checked_rows`."""
        return checked_rows(rows, self.input_size, where)

    def _selected(self, array: np.ndarray, where: str) -> np.ndarray:
        try:
            return array[self.selection]
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{where} has shape {list(np.shape(array))}, which does not fit the selection in the catalog entry "
                f"({error}): correct it"
            ) from error

    def _patiently(self, look: Callable[[], T]) -> T:
        """Result of `look`, tried again after a DataError but for WrongContent."""
        for wait in self.waits:
            try:
                return look()
            except WrongContent:
                raise
            except DataError as error:
                self.close()
                get_logger().warning("%s; trying again", error)
                time.sleep(wait)
        try:
            return look()
        except WrongContent:
            raise
        except DataError as error:
            self.close()
            raise DataError(f"{error} (after {1 + len(self.waits)} attempts)") from error


class FeatureFile(FeatureReader):
    """HDF5 file of features, of a split or of another collection of videos.

    It is opened on first use in each process, since handles do not survive a fork.

    Args:
        path: HDF5 file.
        feature_key: path of a video's dataset in it, with `{vid}` for the video id, or one of a sentence, see `fill`.
        input_size, waits, selection: see `FeatureReader`.
    Attributes:
        kind: name of such a file before its path in messages.
        missing: remedy where there is none.
    """

    kind = "the feature file"
    missing = "see dataset/README.md for where it comes from, or rehearse with `mmn simulate-features`"

    def __init__(self, path: str, feature_key: str, input_size: int, *args, **options):
        super().__init__(path, input_size, *args, **options)
        self.feature_key = feature_key
        self._file: h5py.File | None = None
        self._pid = -1

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_file": None, "_pid": -1}

    def check(self, rows_ids: Iterable[RowsId]) -> None:
        file = self.open()
        rows_ids = list(rows_ids)
        wanted = found_by(self.feature_key, rows_ids)
        with reading(f"{self.kind} {self.path}"):
            missing = [rows_id for rows_id in wanted if self._key(rows_id) not in file]
            hint = missing and lookalikes(
                file, self.feature_key, next(rows_id for rows_id in rows_ids if self._key(rows_id) not in file)
            )
        if missing:
            names = listed(shown(self.feature_key, rows_id) for rows_id in missing)
            raise DataError(
                f"{self.kind} {self.path} lacks {len(missing)} of {len(wanted)} videos: {names}; "
                f"looked for them under {self.feature_key!r}, but {hint}, so complete the file or correct feature_key in "
                "the catalog entry"
            )
        self.read(rows_ids[0])
        self.close()

    def where(self, rows_id: RowsId) -> str:
        return f"video {rows_id} of {self.kind} {self.path}"

    def load(self, rows_id: RowsId) -> np.ndarray:
        return self._look(lambda dataset: dataset[()], rows_id)

    def in_parts(self, rows_id: RowsId) -> RowsInParts:
        if self.selection:
            return super().in_parts(rows_id)
        where = self.where(rows_id)
        shape = self._patiently(lambda: self._look(lambda dataset: dataset.shape or (), rows_id))
        check_shape(shape, self.input_size, where)

        def read(part: slice) -> np.ndarray:
            return self.checked(self._patiently(lambda: self._look(lambda dataset: dataset[part], rows_id)), where)

        return RowsInParts(shape[0], read)

    def duration(self, rows_id: RowsId) -> float | None:
        """Seconds of a video, where the attribute `duration` of its dataset says so, as extraction writes it.

        Raises DataError where it is no number above 0, or there is no such video.
        """
        attributes = self._patiently(
            lambda: self._look(lambda dataset: {"duration": dataset.attrs.get("duration")}, rows_id)
        )
        seconds = number_attribute(attributes, "duration", self.where(rows_id))
        if seconds is not None and seconds <= 0:
            raise DataError(f"the attribute duration of {self.where(rows_id)} is {seconds}: it must be above 0")
        return None if seconds is None else float(seconds)

    def recipe(self) -> FeatureRecipe | None:
        where = f"{self.kind} {self.path}"
        with reading(where):
            recipe = FeatureRecipe.from_attributes(self.open().attrs, where)
        self.close()
        return recipe

    def _look(self, look: Callable[[h5py.Dataset], T], rows_id: RowsId) -> T:
        """Result of `look` on the video's dataset. Raises WrongContent where there is no dataset."""
        with reading(self.where(rows_id)):
            dataset = self.open().get(self._key(rows_id))
            if isinstance(dataset, h5py.Dataset):
                return look(dataset)
        raise self._absent(rows_id)

    def close(self) -> None:
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = None

    def _key(self, rows_id: RowsId) -> str:
        return fill(self.feature_key, rows_id)

    def _absent(self, rows_id: RowsId) -> WrongContent:
        with reading(f"{self.kind} {self.path}"):
            hint = lookalikes(self.open(), self.feature_key, rows_id)
        return WrongContent(
            f"{self.where(rows_id)} has no dataset at {self._key(rows_id)!r}, but {hint}: complete the file, or correct "
            "the name or the feature key"
        )

    def open(self) -> h5py.File:
        """The file, opened in this process. Raises DataError as `open_hdf5`."""
        if self._file is None or self._pid != os.getpid():
            self._file, self._pid = open_hdf5(self.path, self.kind, self.missing, "fetch or make it again"), os.getpid()
        return self._file
