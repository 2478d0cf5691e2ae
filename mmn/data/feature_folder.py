"""A folder with a feature file for each video, as most of the field distributes features today (SPEC section 11)."""

import os
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np

from mmn.data.array_files import DAMAGE, MAPPED, READERS
from mmn.data.features import FeatureReader, RowsInParts, check_shape
from mmn.structures.rows_id import RowsId, fill, found_by, shown
from mmn.utils.errors import DataError, listed


class FeatureFolder(FeatureReader):
    """Reader of npz, npy or pt files, one per video.

    Args:
        path: the folder.
        file: a video's file in it, with `{vid}` for the video id, or one of a sentence, see `fill`.
        kind: "npz", "npy" or "pt".
        key: name of the array in the file, see `mmn.data.array_files`.
        input_size, waits, selection: see `FeatureReader`.
    """

    def __init__(self, path: str, file: str, kind: str, key: str, input_size: int, *args, **options):
        super().__init__(path, input_size, *args, **options)
        self.file = file
        self.kind = kind
        self.key = key

    def open(self) -> None:
        if not os.path.isdir(self.path):
            raise DataError(
                f"the feature folder {self.path} does not exist: see dataset/README.md for where it comes from, or "
                "rehearse with `mmn simulate-features`"
            )

    def check(self, rows_ids: Iterable[RowsId]) -> None:
        self.open()
        rows_ids = list(rows_ids)
        wanted = found_by(self.file, rows_ids)
        missing = self._missing(wanted)
        if missing:
            names = listed(shown(self.file, rows_id) for rows_id in missing)
            raise DataError(
                f"the feature folder {self.path} lacks {len(missing)} of {len(wanted)} videos: {names}; "
                f"looked for them as {self.file!r}, so complete the folder or correct the catalog entry"
            )
        self.read(rows_ids[0])

    def where(self, rows_id: RowsId) -> str:
        return f"video {rows_id} of the feature file {self._path(rows_id)}"

    def load(self, rows_id: RowsId) -> np.ndarray:
        where = self.where(rows_id)
        try:
            return READERS[self.kind](self._path(rows_id), fill(self.key, rows_id), where)
        except FileNotFoundError as error:
            raise DataError(f"{where} does not exist: complete the folder or correct the catalog entry") from error
        except DAMAGE as error:
            words = textwrap.shorten(str(error).split(". ")[0], 200, placeholder=" ...") or type(error).__name__
            raise DataError(f"{where} cannot be read ({words}): fetch or make it again if it is damaged") from error

    def in_parts(self, rows_id: RowsId) -> RowsInParts:
        if self.kind not in MAPPED:
            return super().in_parts(rows_id)
        array, where = self._array(rows_id), self.where(rows_id)
        check_shape(array.shape, self.input_size, where)
        return RowsInParts(len(array), lambda part: self.checked(array[part], where))

    def _path(self, rows_id: RowsId) -> str:
        return os.path.join(self.path, fill(self.file, rows_id))

    def _missing(self, rows_ids: Sequence[RowsId]) -> list[RowsId]:
        """The videos whose file is not there. Each folder is listed once, which is faster than asking for every file."""
        folders: dict[str, set[str]] = {}
        missing = []
        for rows_id in rows_ids:
            folder, name = os.path.split(self._path(rows_id))
            if folder not in folders:
                folders[folder] = _names_in(folder)
            if name not in folders[folder]:
                missing.append(rows_id)
        return missing


def _names_in(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise DataError(f"the feature folder {folder} cannot be read ({error.strerror}): correct the path") from error
