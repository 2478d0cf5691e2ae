"""Encoding the videos of a collection and putting them into an index, the steps side by side.

One thread reads videos and resamples them, one sends windows of several videos through the network together, and one
writes what came out.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mmn.apps.extraction.video_files import VideoFile
from mmn.apps.localize.encoded_video import PreparedVideo
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.search.index_types import VideoMoments
from mmn.apps.search.indexed_video import BuildSettings, pack_moments
from mmn.apps.search.vector_store import VectorStore
from mmn.apps.search.video_collections import VideoCollection
from mmn.utils import comm
from mmn.utils.ahead import Behind, ahead
from mmn.utils.clock import clock
from mmn.utils.errors import DataError
from mmn.utils.logger import get_logger

PUT_BYTES = 2**26  # of vectors that are written at once
PUT_SECONDS = 20.0  # a build that is killed loses no more than what it made in this time
LOG_SECONDS = 30.0
DEPTH = 2  # batches that a step is ahead of the next one


@dataclass
class BuildResult:
    """Counts of what a build did, and what it could not do.

    Attributes:
        num_new, num_replaced, num_unchanged, num_removed: videos.
        failures: a sentence for each video that could not be used.
    """

    num_new: int = 0
    num_replaced: int = 0
    num_unchanged: int = 0
    num_removed: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(eq=False)
class _Job:
    """A video on its way through the network: `parts` are vectors [w, M, C] of its windows, as far as they are done."""

    video: VideoFile
    prepared: PreparedVideo
    source: str
    parts: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return sum(len(part) for part, _ in self.parts) == len(self.prepared.spans)

    def moments(self, settings: BuildSettings) -> VideoMoments:
        vectors = tuple(torch.cat(parts) for parts in zip(*self.parts, strict=True))
        video, prepared = self.video, self.prepared
        return pack_moments(
            video.video_id, prepared.duration, prepared.moments, vectors, settings, self.source, video.path
        )


_Batch = list[tuple[_Job, np.ndarray]]  # windows [P, D] and whose they are


class CollectionEncoder:
    """Encodes videos of a collection and puts them into an index.

    Args:
        index: the store; a video that it holds in the same state already is not encoded again.
        settings: the way moments are made.
    """

    def __init__(
        self, localizer: MomentLocalizer, collection: VideoCollection, index: VectorStore, settings: BuildSettings
    ):
        self.localizer = localizer
        self.collection = collection
        self.index = index
        self.settings = settings
        self.result = BuildResult()
        self._known = dict(index.videos())
        self._pending: list[VideoMoments] = []
        self._pending_bytes = 0
        self._pending_since = time.monotonic()

    def run(self, videos: Sequence[VideoFile]) -> BuildResult:
        """Encode and put these videos of the collection; called once.

        The network runs in this thread, whose memory is used again from batch to batch.
        """
        self._progress = _Progress(len(videos))
        batches = ahead(self._batches(self._jobs(videos)), DEPTH)
        with contextlib.closing(batches), Behind(DEPTH) as writing:
            for done in self._encoded(batches):
                writing.call(self._add, done)
            writing.call(self._flush)
        self._progress.close()
        return self.result

    # ---- Reading ----

    def _jobs(self, videos: Sequence[VideoFile]) -> Iterator[_Job]:
        """The videos that are to be encoded."""
        for video in videos:
            known = self._known[video.video_id].source if video.video_id in self._known else None
            try:
                prepared, source = self.collection.load(video, self.localizer, self.settings, known)
            except DataError as error:
                get_logger().warning("left out: %s", error)
                self.result.failures.append(str(error))
                self._progress.advance(1)
                continue
            if prepared is None:
                self.result.num_unchanged += 1
                self._progress.advance(1)
            else:
                yield _Job(video, prepared, source)

    def _batches(self, jobs: Iterator[_Job]) -> Iterator[_Batch]:
        """Windows of videos, as many at a time as go through the network at once."""
        batch: _Batch = []
        for job in jobs:
            for number in range(len(job.prepared.spans)):
                batch.append((job, self.localizer.window_clips(job.prepared, number)))
                if len(batch) == self.localizer.batch_size:
                    yield batch
                    batch = []
        if batch:
            yield batch

    # ---- The network ----

    def _encoded(self, batches: Iterator[_Batch]) -> Iterator[list[_Job]]:
        """After each batch the videos whose windows have all been through the network, with their vectors."""
        for batch in batches:
            done = []
            vectors = self.localizer.encode_clips(np.stack([clips for _, clips in batch]))
            start = 0
            for number, (job, _) in enumerate(batch):
                if number + 1 < len(batch) and batch[number + 1][0] is job:
                    continue  # the video has more windows in the batch
                job.parts.append(tuple(part[start : number + 1].half().cpu() for part in vectors))
                start = number + 1
                if job.is_done:
                    done.append(job)
            yield done

    # ---- Writing ----

    def _add(self, jobs: Sequence[_Job]) -> None:
        """Put videos into the index, many at a time."""
        for job in jobs:
            self._pending.append(job.moments(self.settings))
            self._pending_bytes += self._pending[-1].contrastive.nbytes + self._pending[-1].iou.nbytes
        if self._pending_bytes >= PUT_BYTES or time.monotonic() - self._pending_since > PUT_SECONDS:
            self._flush()

    def _flush(self) -> None:
        self.index.put(self._pending)
        num_replaced = sum(video.video_id in self._known for video in self._pending)
        self.result.num_replaced += num_replaced
        self.result.num_new += len(self._pending) - num_replaced
        self._progress.advance(len(self._pending))
        self._pending, self._pending_bytes, self._pending_since = [], 0, time.monotonic()


class _Progress:
    """A live bar on a terminal, otherwise a line in the log now and then; the first process stands for all."""

    def __init__(self, num_videos: int):
        self.num_videos = num_videos
        self.num_done = 0
        self.lock = threading.Lock()
        self.start = self.last_report = time.monotonic()
        self.is_shown = comm.get_rank() == 0
        on_terminal = self.is_shown and sys.stderr.isatty()
        self.bar = tqdm(total=num_videos, unit="video", dynamic_ncols=True) if on_terminal else None

    def advance(self, count: int) -> None:
        with self.lock:  # the reading and the writing thread both come here
            self.num_done += count
            if self.bar is not None:
                self.bar.update(count)
                return
        now = time.monotonic()
        if self.is_shown and now - self.last_report > LOG_SECONDS:
            self.last_report = now
            to_go = (now - self.start) * (self.num_videos - self.num_done) / max(self.num_done, 1)
            get_logger().info("%d of %d videos, eta %s", self.num_done, self.num_videos, clock(to_go))

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
