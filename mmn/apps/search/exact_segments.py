"""The files of the exact store that hold vectors: a segment is a folder of three .npy files that never change again.

Any number of processes map them. Who deletes a segment disturbs nobody who has mapped it: the system keeps the content
until the last one is gone.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mmn.apps.search.index_types import VideoMoments
from mmn.structures.query_vectors import HEADS
from mmn.utils.errors import DataError, failed_read
from mmn.utils.files import sync_folder, try_flock

MOMENTS = "moments"
DTYPES = {**dict.fromkeys(HEADS, np.dtype("<f2")), MOMENTS: np.dtype("<f4")}
WRITING = "writing"  # a file in a segment that is not in the journal yet, locked as long as its writer lives


@dataclass(frozen=True, eq=False)
class Segment:
    """A segment, mapped.

    Attributes:
        contrastive, iou: [n, C] float16.
        moments: [n, 2] float32 seconds.
    """

    contrastive: torch.Tensor
    iou: torch.Tensor
    moments: torch.Tensor

    def vectors(self, head: str) -> torch.Tensor:
        """[n, C] of one of HEADS."""
        return {"contrastive": self.contrastive, "iou": self.iou}[head]

    def __len__(self) -> int:
        return len(self.moments)


def map_segment(folder: str, dim: int) -> Segment:
    """Raises FileNotFoundError where it is gone, DataError where it is damaged."""
    parts = {name: _map_array(os.path.join(folder, f"{name}.npy"), name, dim) for name in DTYPES}
    if len({len(part) for part in parts.values()}) > 1:
        raise DataError(f"the files in {folder} do not have the same number of rows: build the index again")
    return Segment(**parts)


def _map_array(path: str, name: str, dim: int) -> torch.Tensor:
    """[n, dim], or [n, 2] of moments. The file is closed again: there may be more segments than files may be open."""
    width = 2 if name == MOMENTS else dim
    try:
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            offset, size = file.tell(), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} is damaged ({failed_read(error)}): build the index again") from error
    expected = offset + dtype.itemsize * int(np.prod(shape))
    if (dtype, fortran, shape[1:]) != (DTYPES[name], False, (width,)) or size != expected or not shape[0]:
        raise DataError(
            f"{path} is damaged (it has {size} bytes and an array of shape {list(shape)}, for [rows, {width}]): build the "
            "index again"
        )
    try:
        content = torch.from_file(path, shared=False, size=size, dtype=torch.uint8)
    except RuntimeError as error:
        if not os.path.exists(path):  # deleted since it was opened
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
        raise DataError(f"{path} cannot be mapped ({error}): build the index again if it is damaged") from error
    return content[offset:].view(torch.float32 if name == MOMENTS else torch.float16).view(shape)


class SegmentWriter:
    """Writes a segment aside: it belongs to the index when the journal says so, and until then to this writer alone.

    To be made, and ended by `commit`, by who holds the index's lock, see `remove_abandoned`.

    Args:
        folder: the place of all segments.
    """

    def __init__(self, folder: str):
        self.name = uuid.uuid4().hex
        self.folder = os.path.join(folder, self.name)
        os.makedirs(self.folder)
        self.lock = open(os.path.join(self.folder, WRITING), "wb")  # noqa: SIM115, it stays open until the commit
        try_flock(self.lock)

    def write(self, num_rows: int, dim: int, parts: dict[str, Iterable[np.ndarray]]) -> None:
        """The three arrays, each from parts that have `num_rows` rows together; on the disk when this returns."""
        for name, dtype in DTYPES.items():
            width = 2 if name == MOMENTS else dim
            header = {"descr": dtype.str, "fortran_order": False, "shape": (num_rows, width)}
            with open(os.path.join(self.folder, f"{name}.npy"), "xb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                size = sum(file.write(np.ascontiguousarray(part, dtype).data) for part in parts[name])
                if size != num_rows * width * dtype.itemsize:
                    raise ValueError(f"{size} bytes of {name} instead of {num_rows} rows of {width}")
                file.flush()
                os.fsync(file.fileno())
        sync_folder(self.folder)

    def write_videos(self, videos: Sequence[VideoMoments]) -> None:
        """The rows of some videos, one after the other."""
        columns = {name: [video.vectors(name) for video in videos] for name in HEADS}
        columns[MOMENTS] = [video.moments for video in videos]
        self.write(sum(len(video.moments) for video in videos), videos[0].contrastive.shape[1], columns)

    def commit(self) -> None:
        """The journal has it."""
        os.unlink(os.path.join(self.folder, WRITING))
        self.lock.close()


def remove_abandoned(folder: str, known: Iterable[str]) -> None:
    """Delete the segments that no journal has and no living process is writing. To be called with the index's lock held.

    A writer makes its segment's folder, and hands the segment to the journal, with the lock held, and holds a lock on
    WRITING in between. The system takes that from it when it dies, however it does.
    """
    for name in set(os.listdir(folder)) - set(known):
        path = os.path.join(folder, name)
        try:
            with open(os.path.join(path, WRITING), "rb") as file:
                is_abandoned = try_flock(file)
        except FileNotFoundError:  # its writer was killed before there was anything, or when it was done
            is_abandoned = True
        if is_abandoned:
            shutil.rmtree(path, ignore_errors=True)
