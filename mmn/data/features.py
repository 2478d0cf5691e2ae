"""Reading one video's feature rows and resampling them to a fixed number of clips (SPEC section 1)."""

import os
import time
from collections.abc import Iterable, Sequence

import h5py
import numpy as np

from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import DataError, listed
from mmn.utils.logger import get_logger

# What h5py raises for a file that is not as it should be: damaged, or not to be read at the moment.
DAMAGE = (OSError, RuntimeError, ValueError, TypeError, KeyError, MemoryError)


def clip_boundaries(num_rows: int, num_clips: int, uses_last_row: bool = False) -> np.ndarray:
    """[P + 1] int64: clip p is the mean of rows boundary p .. boundary p+1 - 1, or row boundary p where that is empty.

    round_half_even(p / P * T0) in float32, clamped to T0 - 1. So the last source row is used only where the last range
    is empty: the released weights were trained so. With `uses_last_row` nothing is clamped, as for tubes (SPEC section 8).
    """
    positions = np.arange(num_clips + 1, dtype=np.float32) / np.float32(num_clips) * np.float32(num_rows)
    return np.minimum(np.rint(positions), num_rows - (not uses_last_row)).astype(np.int64)


def resample_clips(rows: np.ndarray, num_clips: int, uses_last_row: bool = False) -> np.ndarray:
    """Source rows [T0, D] -> L2-normalised and averaged clips [P, D], float32; see `clip_boundaries`."""
    rows = rows.astype(np.float32, copy=False)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.maximum(norms, np.float32(1e-12))
    boundaries = clip_boundaries(len(rows), num_clips, uses_last_row)
    first = np.minimum(boundaries[:-1], len(rows) - 1)
    counts = np.maximum(np.diff(boundaries), 1)  # row `first` alone where the range is empty
    sums = rows[first]
    for number in range(1, counts.max()):  # the second rows of all clips, then the third, ...
        longer = np.flatnonzero(counts > number)
        sums[longer] += rows[first[longer] + number]
    return sums / counts.astype(np.float32)[:, None]


def checked_rows(rows: np.ndarray, input_size: int, where: str) -> np.ndarray:
    """Feature rows [T0, D] of one video as float32.

    Args:
        input_size: D, the width that the model expects.
        where: whose they are, for messages.
    Raises DataError where they have another shape than [T0 > 0, D], or are not finite numbers.
    """
    if np.ndim(rows) != 2 or rows.shape[1] != input_size or not len(rows):
        raise DataError(
            f"{where} has shape {list(np.shape(rows))}, but the model expects [rows, {input_size}]: "
            "correct MODEL.MMN.FEATPOOL.INPUT_SIZE or the file"
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        values = rows.astype(np.float32, copy=False) if rows.dtype.kind == "f" else None
    if values is None or not np.isfinite(values).all():
        raise DataError(f"{where} holds values that are not finite numbers: extract its features again")
    return values


class FeatureFile:
    """The HDF5 feature file of a split. It is opened on first use in each process, since handles do not survive a fork.

    Args:
        path: HDF5 file.
        feature_key: path of a video's dataset in it, with `{vid}` for the video id.
        input_size: D, the width that the model expects.
        waits: seconds before each further attempt at a read that fails, as network file systems' do for moments.
    """

    def __init__(self, path: str, feature_key: str, input_size: int, waits: Sequence[float] = (0.1, 0.5, 2.0)):
        self.path = path
        self.feature_key = feature_key
        self.input_size = input_size
        self.waits = waits
        self._file: h5py.File | None = None
        self._pid = -1

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_file": None, "_pid": -1}

    def check(self, video_ids: Iterable[str]) -> None:
        """Raise DataError unless the file can be read and has every video, the first one of the right width."""
        file = self.open()
        video_ids = list(video_ids)
        try:
            missing = [video_id for video_id in video_ids if self._key(video_id) not in file]
        except DAMAGE as error:
            raise DataError(f"the feature file {self.path} is damaged ({error}): fetch or make it again") from error
        if missing:
            raise DataError(
                f"the feature file {self.path} lacks {len(missing)} of {len(video_ids)} videos: {listed(missing)}; "
                f"looked for them under {self.feature_key!r}, so complete the file or correct the catalog entry"
            )
        self.read(video_ids[0])
        self.close()

    def read(self, video_id: str) -> np.ndarray:
        """All feature rows of a video, [T0, D] float32.

        Raises DataError where they cannot be read, have another shape than [T0 > 0, D], or are not finite.
        """
        key = self._key(video_id)
        rows = self._read_patiently(video_id)
        where = f"video {video_id} of the feature file {self.path}"
        if rows is None:
            raise DataError(
                f"{where} has no dataset at {key!r}: complete the file, or correct feature_key in the catalog entry"
            )
        return self.checked(rows, where)

    def checked(self, rows: np.ndarray, where: str) -> np.ndarray:
        """Rows that were read of a video, as float32; see `checked_rows`."""
        return checked_rows(rows, self.input_size, where)

    def recipe(self) -> FeatureRecipe | None:
        """Recipe of the features, where the file says so. Raises DataError where it cannot be read."""
        recipe = FeatureRecipe.from_attributes(self.open().attrs, f"the feature file {self.path}")
        self.close()
        return recipe

    def _read_patiently(self, video_id: str) -> np.ndarray | None:
        """The rows as they are in the file; None where there is no dataset. Tries again after an error."""
        for wait in (*self.waits, None):
            try:
                dataset = self.open().get(self._key(video_id))
                return dataset[()] if isinstance(dataset, h5py.Dataset) else None
            except (*DAMAGE, DataError) as error:
                self.close()
                if wait is None:
                    raise DataError(
                        f"video {video_id} of the feature file {self.path} cannot be read ({error}), after "
                        f"{1 + len(self.waits)} attempts: fetch or make the file again if it is damaged"
                    ) from error
                get_logger().warning("video %s of %s cannot be read (%s), trying again", video_id, self.path, error)
                time.sleep(wait)
        return None  # not reached

    def close(self) -> None:
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = None

    def _key(self, video_id: str) -> str:
        return self.feature_key.replace("{vid}", video_id)

    def open(self) -> h5py.File:
        """The file, opened in this process. Raises DataError where it is missing or damaged."""
        if self._file is None or self._pid != os.getpid():
            if not os.path.isfile(self.path):
                raise DataError(
                    f"the feature file {self.path} does not exist: see dataset/README.md for where it comes from, "
                    "or rehearse with tools/simulate_features.py"
                )
            try:
                self._file, self._pid = h5py.File(self.path, "r"), os.getpid()
            except DAMAGE as error:
                raise DataError(f"the feature file {self.path} cannot be opened ({error}): fetch it again") from error
        return self._file
