"""Resampled features that are computed once: in memory, or in a file made beforehand by tools/cache_features.py."""

import json
import mmap
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from yacs.config import CfgNode

from mmn.structures.recipe import TracksRecipe
from mmn.utils.errors import DataError, failed_read
from mmn.utils.files import atomic_path
from mmn.utils.text_files import parse_json, read_text

GIGABYTE = 1024**3


class SharedClipCache:
    """The clips [P, D] of up to `budget` bytes of videos, each computed once, by whichever worker needs it first.

    The store is an anonymous shared mapping: workers forked from this process read and fill the same pages, and pages
    that nobody has filled take no memory. Two workers that compute one video at the same time write the same bytes. A
    slot is said to be filled, and asked about, under a lock of all workers: processors that write to memory in another
    order than they were told to would otherwise show the word before the clips.

    Args:
        dtype: float32, or float16 for twice as many videos in the same memory, rounded.
    """

    def __init__(self, num_videos: int, num_clips: int, input_size: int, budget: float, dtype: str = "float32"):
        video_bytes = np.dtype(dtype).itemsize * num_clips * input_size
        self.num_slots = min(num_videos, int(budget // video_bytes))
        if self.num_slots == 0:
            return
        store = mmap.mmap(-1, self.num_slots * video_bytes)
        self.clips = np.frombuffer(store, dtype=dtype).reshape(self.num_slots, num_clips, input_size)
        self.is_filled = np.frombuffer(mmap.mmap(-1, self.num_slots), dtype=np.bool_)
        self.lock = multiprocessing.Lock()

    def __getstate__(self) -> dict:
        """A spawned worker gets a copy of its own, which nobody else fills."""
        return {name: value for name, value in self.__dict__.items() if name != "lock"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.lock = multiprocessing.Lock()

    def get(self, video: int, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The clips [P, D] float32 of video number `video`, from memory or by `compute()`."""
        if video >= self.num_slots:
            return compute()
        with self.lock:
            is_filled = self.is_filled[video]
        if not is_filled:
            self.clips[video] = compute()
            with self.lock:
                self.is_filled[video] = True
        return self.clips[video].astype(np.float32, copy=False)


class ClipFile:
    """The clips of a whole split in one file, mapped into memory: every process of a machine shares its pages.

    Beside `<split>.npy`, an array [videos, P, D], stands `<split>.json` with the video ids and the size and time of the
    files that they were made from. Where those are still there, they must be the same. For tubes each tube stands in the
    place of a video.

    Args:
        folder: DATALOADER.CACHE_DIR.
        split: name of the split.
        sources: all files and folders that the clips depend on.
    """

    def __init__(self, folder: str, split: str, sources: Sequence[str]):
        self.sources = sources
        self.array_path = os.path.join(folder, f"{split}.npy")
        self.index_path = os.path.join(folder, f"{split}.json")

    def write(
        self,
        video_ids: Sequence[str],
        clips: Iterator[np.ndarray],
        shape: tuple[int, int],
        dtype: str,
        recipe: TracksRecipe | None = None,
    ) -> None:
        """Write the clips [P, D] of all videos, one after the other.

        Args:
            shape: (P, D).
            recipe: recipe of the features that the clips are resampled from.
        """
        with atomic_path(self.array_path) as temporary:
            array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=(len(video_ids), *shape))
            for row, video_clips in enumerate(clips):
                array[row] = video_clips
            array.flush()
        with atomic_path(self.index_path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            index = {
                "videos": list(video_ids),
                "source": self._source_state(with_subfolders=True),
                "with_subfolders": True,
                "recipe": recipe and recipe.to_dict(),
            }
            json.dump(index, file, ensure_ascii=False)

    def _source_state(self, with_subfolders: bool) -> list[int] | None:
        """Size in bytes and time of the last change of each source; None where one is not on this machine."""
        if not all(os.path.exists(path) for path in self.sources):
            return None
        return [number for path in self.sources for number in _size_and_time(path, with_subfolders)]

    def open(self, video_ids: Sequence[str], shape: tuple[int, int]) -> None:
        """Map the file. Raises DataError where it is missing or is not of these videos and this shape (P, D)."""
        try:
            index = self._read_index()
            cached, source = index["videos"], index["source"]
            state = self._source_state(index.get("with_subfolders", False))  # caches of earlier versions: without
            self.clips = np.load(self.array_path, mmap_mode="r")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unreadable(error) from error
        if cached != list(video_ids) or self.clips.shape != (len(cached), *shape):
            raise DataError(
                f"the clip cache {self.array_path} is not of the videos, INPUT.NUM_PRE_CLIPS and FEATPOOL.INPUT_SIZE of "
                "this config: make it again by `mmn cache-features`"
            )
        if state not in (None, source):
            raise DataError(
                f"the clip cache {self.array_path} was made from another state of {', '.join(self.sources)}: make it again "
                "by `mmn cache-features`"
            )

    def recipe(self) -> TracksRecipe | None:
        """Recipe of the features that the clips are resampled from, where it is known. Raises DataError as `open` does."""
        try:
            recipe = self._read_index().get("recipe")  # caches of earlier versions have none
        except (OSError, ValueError, AttributeError) as error:
            raise self._unreadable(error) from error
        return None if recipe is None else TracksRecipe.from_dict(recipe, f"the clip cache {self.index_path}")

    def _read_index(self) -> dict:
        return parse_json(read_text(self.index_path))

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(
            f"the clip cache {self.array_path} cannot be read ({failed_read(error)}): make it by `mmn "
            "cache-features`, or set DATALOADER.CACHE_DIR ''"
        )

    def get(self, video: int, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The clips [P, D] float32 of video number `video`; `compute` is never needed."""
        return self.clips[video].astype(np.float32)


def _size_and_time(path: str, with_subfolders: bool) -> tuple[int, int]:
    """Bytes and time of the last change of a file, or of all files of a folder together."""
    if not os.path.isdir(path):
        return os.stat(path).st_size, os.stat(path).st_mtime_ns
    states = list(_states_of_files(path, with_subfolders, set()))
    return sum(state.st_size for state in states), max((state.st_mtime_ns for state in states), default=0)


def _states_of_files(folder: str, with_subfolders: bool, seen: set[str]) -> Iterator[os.stat_result]:
    """The state of each file of a folder; `seen` are the folders that links shall not lead to again."""
    seen.add(os.path.realpath(folder))
    for entry in os.scandir(folder):
        if entry.is_file():
            yield entry.stat()
        elif with_subfolders and entry.is_dir() and os.path.realpath(entry.path) not in seen:
            yield from _states_of_files(entry.path, with_subfolders, seen)


def build_cache(
    cfg: CfgNode, split: str, names: Sequence[str], input_size: int, sources: Sequence[str]
) -> SharedClipCache | ClipFile:
    """The split's file in DATALOADER.CACHE_DIR, which then stands for its features, or a cache in memory over them.

    Args:
        names: the videos or tubes, in the dataset's order.
        input_size: D.
        sources: the files that the clips are made from.
    """
    loader, num_clips = cfg.DATALOADER, cfg.INPUT.NUM_PRE_CLIPS
    if loader.CACHE_DIR:
        cache = ClipFile(loader.CACHE_DIR, split, sources)
        cache.open(names, (num_clips, input_size))
        return cache
    return SharedClipCache(len(names), num_clips, input_size, loader.CACHE_GB * GIGABYTE, loader.CACHE_DTYPE)
