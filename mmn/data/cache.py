"""Resampled features kept in memory, one copy per process that its data loader workers share."""

import mmap
from collections.abc import Callable

import numpy as np


class SharedClipCache:
    """The clips [P, D] of up to `budget` bytes of videos, each computed once, by whichever worker needs it first.

    The store is an anonymous shared mapping: workers forked from this process read and fill the same pages, and pages
    that nobody has filled take no memory. Two workers that compute one video at the same time write the same bytes.
    """

    def __init__(self, num_videos: int, num_clips: int, input_size: int, budget: float):
        video_bytes = 4 * num_clips * input_size
        self.num_slots = min(num_videos, int(budget // video_bytes))
        if self.num_slots == 0:
            return
        store = mmap.mmap(-1, self.num_slots * video_bytes)
        self.clips = np.frombuffer(store, dtype=np.float32).reshape(self.num_slots, num_clips, input_size)
        self.is_filled = np.frombuffer(mmap.mmap(-1, self.num_slots), dtype=np.bool_)

    def get(self, video: int, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The clips [P, D] float32 of video number `video`, from memory or by `compute()`."""
        if video >= self.num_slots:
            return compute()
        if not self.is_filled[video]:
            self.clips[video] = compute()
            self.is_filled[video] = True
        return self.clips[video]
