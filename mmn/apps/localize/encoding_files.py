"""The files of one video's encoding, which is made in parts and continued where it was stopped.

A folder of its own in the one that the user names, called after all that decides what is in it:

    video.json                   what that is, in words
    rows-00000.npy, ...          parts of the feature rows, until all are there
    rows.npy                     all of them, [T0, D] float32
    vectors-00000.npy, ...       parts of the moments' vectors, until all are there
    contrastive.npy, iou.npy     all of them, [W, M, C] float32
    finder.npy                   [W, F, C] float32, see `EncodedVideo`; of 2D-TAN there is iou.npy alone
    .lock                        held while the folder is written to

Every file appears as a whole, and no other one is touched.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from mmn.utils.errors import DataError, failed_read
from mmn.utils.files import LOCK_FILE, FolderLock, atomic_path, remove_leftovers

DESCRIPTION = "video.json"


class EncodingFiles:
    """The folder of one video's encoding.

    Args:
        place: the folder that the user names, made where it is not there.
        description: all that decides what is in the files, as json values.
    Raises DataError where the folder holds something else, UserError where it cannot be written to.
    """

    def __init__(self, place: str, description: Mapping[str, object]):
        text = json.dumps(description, sort_keys=True, indent=1) + "\n"
        self.folder = os.path.join(place, f"mmn-{hashlib.sha256(text.encode()).hexdigest()[:32]}")
        path = self.path(DESCRIPTION)
        if not os.path.exists(path):
            if os.path.isdir(self.folder) and set(os.listdir(self.folder)) - {LOCK_FILE}:
                raise DataError(f"{self.folder} holds other files than an encoded video's: choose another folder")
            with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
            return
        with open(path, encoding="utf-8", errors="replace") as file:
            if file.read() != text:
                raise DataError(
                    f"{path} was changed: choose another folder, or delete {self.folder}, which is made again"
                )

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes out. Raises UserError where one is writing."""
        lock = FolderLock(self.folder, place="folder for encoded videos")
        try:
            remove_leftovers(self.folder)
            yield
        finally:
            lock.release()

    def has(self, *names: str) -> bool:
        return all(os.path.exists(self.path(f"{name}.npy")) for name in names)

    def load(self, name: str) -> np.ndarray:
        """An array, mapped: only what is looked at is read. Raises DataError where it cannot be."""
        path = self.path(f"{name}.npy")
        try:
            return np.load(path, mmap_mode="c")  # of its own where it is written to, and nobody does
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read ({failed_read(error)}): delete the folder {self.folder}, then the video is "
                "encoded again"
            ) from error

    # ---- Parts ----

    def parts(self, name: str) -> list[str]:
        """Names of the parts `name`-00000, ... from the first one on, without a gap."""
        found = {file for file in os.listdir(self.folder) if re.fullmatch(rf"{name}-\d{{5}}\.npy", file)}
        parts: list[str] = []
        while f"{_part(name, len(parts))}.npy" in found:
            parts.append(_part(name, len(parts)))
        return parts

    def add_part(self, name: str, number: int, values: np.ndarray) -> None:
        self._save(_part(name, number), values.shape, [values])

    def join(self, name: str, target: str, choose=lambda part: part) -> None:
        """Write `choose` of every part, one after the other along the first axis, as the array `target`."""
        shapes = [choose(self.load(part)).shape for part in self.parts(name)]
        shape = (sum(first for first, *_ in shapes), *shapes[0][1:])
        self._save(target, shape, (choose(self.load(part)) for part in self.parts(name)))

    def drop_parts(self, name: str) -> None:
        """Delete the parts, the last one first: where that is stopped, those that are left are still found."""
        for part in reversed(self.parts(name)):
            os.unlink(self.path(f"{part}.npy"))

    def _save(self, name: str, shape: tuple[int, ...], pieces: Iterable[np.ndarray]) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        with atomic_path(self.path(f"{name}.npy")) as temporary, open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for piece in pieces:
                file.write(np.ascontiguousarray(piece, "<f4").data)


def _part(name: str, number: int) -> str:
    return f"{name}-{number:05}"
