"""A feature file in the making: every video a small file of its own, put together when all are there.

An HDF5 file whose writer is killed may be lost as a whole, so that none is kept open: beside OUT stands a folder OUT.parts
with one file per finished video, each written aside and renamed. Several processes write to it at once.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping

import h5py
import numpy as np

from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import DataError
from mmn.utils.files import LOCK_FILE, FolderLock, atomic_path, remove_leftovers
from mmn.utils.hdf5 import open_hdf5, reading

PART_NAME = re.compile(r"[0-9a-f]{32}\.hdf5")  # whatever else is in the folder is somebody else's
README = "README.txt"
ROWS = "rows"  # the only dataset of a part
CHUNK_BYTES = 2**18
COPIED_ROWS = 4096
OUT, PART = "the feature file", "the finished video"  # in messages
OTHER = "choose another --out, or fetch or make the file again"


class FeatureStore:
    """The feature file `out` and the parts that are to become it.

    Args:
        recipe: description of the features that are going to be added.
    """

    def __init__(self, out: str, recipe: FeatureRecipe):
        self.out = out
        self.recipe = recipe
        self.folder = f"{out}.parts"

    def prepare(self) -> set[str]:
        """The ids of the videos that are done. To be called by one process, which holds the folder until `merge`.

        Raises UserError where another run is writing, DataError where what is there has another recipe.
        """
        done = self._finished_ids()
        with atomic_path(os.path.join(self.folder, README)) as temporary, open(temporary, "w") as file:
            file.write(f"Finished videos of {os.path.basename(self.out)}, which tools/extract_features.py is making.\n")
        self.lock = FolderLock(self.folder, patience=5.0, place="--out")
        remove_leftovers(self.folder)
        remove_leftovers(*os.path.split(os.path.abspath(self.out)))
        for path in self._parts():
            with self._opened_part(path) as part, reading(f"{PART} {path}"):
                self._check_recipe(path, part.attrs)
                done.add(part.attrs["video_id"])
        return done

    def _opened_part(self, path: str) -> h5py.File:
        return open_hdf5(path, PART, damaged=f"move it out of {self.folder}, then its video is extracted again")

    def _finished_ids(self) -> set[str]:
        if not os.path.exists(self.out):
            return set()
        with open_hdf5(self.out, OUT, damaged=OTHER) as file, reading(f"{OUT} {self.out}", OTHER):
            self._check_recipe(self.out, file.attrs)
            return set(file)

    def _check_recipe(self, path: str, attributes: Mapping) -> None:
        found = FeatureRecipe.from_attributes(attributes, path)
        if found is None:
            raise DataError(
                f"{path} does not say how its features were made, so none are added to it: choose another --out"
            )
        if found != self.recipe:
            raise DataError(
                f"{path} has features of {found}, but these would be {self.recipe}, which differs in "
                f"{found.differences(self.recipe)}: choose another --out, or the options it was made with"
            )

    def _parts(self) -> list[str]:
        if not os.path.isdir(self.folder):
            return []
        return sorted(entry.path for entry in os.scandir(self.folder) if PART_NAME.fullmatch(entry.name))

    def write(self, video_id: str, parts: Iterable[np.ndarray], attributes: Mapping[str, object]) -> None:
        """Write the rows of one video as they come; nothing stays where `parts` raises.

        Args:
            parts: arrays [b, D] float32.
            attributes: those of the video's dataset; read after the last row.
        """
        name = hashlib.sha256(video_id.encode()).hexdigest()[:32]
        with atomic_path(os.path.join(self.folder, f"{name}.hdf5")) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update(self.recipe.to_attributes())
            file.attrs["video_id"] = video_id
            rows = None
            for part in parts:
                if rows is None:
                    width = part.shape[1]
                    shape = (max(1, CHUNK_BYTES // (4 * width)), width)
                    rows = file.create_dataset(ROWS, (0, width), np.float32, maxshape=(None, width), chunks=shape)
                rows.resize(len(rows) + len(part), axis=0)
                rows[-len(part) :] = part
            rows.attrs.update(attributes)

    def merge(self) -> int:
        """Add all parts to the feature file, which is replaced as a whole, and remove them; returns how many there were.

        To be called by the process that has called `prepare`, when all others are done.
        """
        parts = self._parts()
        if parts:
            with atomic_path(self.out) as temporary:
                if os.path.exists(self.out):
                    shutil.copyfile(self.out, temporary)
                else:
                    h5py.File(temporary, "w").close()
                with h5py.File(temporary, "a") as file:
                    file.attrs.update(self.recipe.to_attributes())
                    for path in parts:
                        with self._opened_part(path) as part:
                            _copy_rows(part[ROWS], file, part.attrs["video_id"])
        self.lock.release()  # network file systems keep a file that is open, and its folder with it
        for path in (*parts, *(os.path.join(self.folder, name) for name in (README, LOCK_FILE))):
            os.unlink(path)
        with contextlib.suppress(OSError):  # somebody's files are in it
            os.rmdir(self.folder)
        return len(parts)


def _copy_rows(rows: h5py.Dataset, file: h5py.File, video_id: str) -> None:
    if video_id in file:  # a run was stopped between its last two steps
        return
    copied = file.create_dataset(video_id, rows.shape, rows.dtype)
    for first in range(0, len(rows), COPIED_ROWS):
        copied[first : first + COPIED_ROWS] = rows[first : first + COPIED_ROWS]
    copied.attrs.update(rows.attrs)
