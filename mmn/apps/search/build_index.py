"""What tools/build_index.py does: encode the videos of a collection and put them into an index, once and for all.

The steps run side by side: one thread reads videos and resamples them, one sends windows of several videos through the
network together, and one writes what came out. An index that is stopped, or killed, goes on where it was: a
video whose source has not changed is not encoded again.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mmn.apps.extraction.video_files import VideoFile, share_out
from mmn.apps.localize.encoded_video import PreparedVideo
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.search.index_types import VideoEntry, VideoMoments
from mmn.apps.search.indexed_video import BuildSettings, index_info, pack_moments
from mmn.apps.search.model_identity import model_identity
from mmn.apps.search.vector_store import VectorStore, copy_index, create_store, default_store, has_index, open_store
from mmn.apps.search.video_collections import VideoCollection
from mmn.structures.recipe import FeatureRecipe
from mmn.utils import comm
from mmn.utils.ahead import Behind, ahead
from mmn.utils.clock import clock
from mmn.utils.errors import ConfigError, DataError, UserError
from mmn.utils.logger import get_logger

PUT_BYTES = 2**26  # of vectors that are written at once
PUT_SECONDS = 20.0  # a build that is killed loses no more than what it made in this time
LOG_SECONDS = 30.0
DEPTH = 2  # batches that a step is ahead of the next one


@dataclass
class BuildResult:
    """What a build did, on all processes together.

    Attributes:
        num_new, num_replaced, num_unchanged, num_removed: videos.
        failures: a sentence for each video that could not be used.
    """

    num_new: int = 0
    num_replaced: int = 0
    num_unchanged: int = 0
    num_removed: int = 0
    failures: list[str] = field(default_factory=list)


def build_index(
    localizer: MomentLocalizer,
    collection: VideoCollection,
    place: str,
    engine: str = "auto",
    settings: BuildSettings | None = None,
    removes_others: bool = False,
) -> BuildResult:
    """Have the index at `place` hold the videos of a collection; called on all processes, each encodes its share.

    Args:
        engine: the name of a store, one of STORES; "auto" is the one of the index, or for a new one chosen by its moments.
        settings: how moments are made; None is as in the index, or the defaults for a new one.
        removes_others: take out the videos that the collection has not.
    Raises:
        ConfigError: where the index is of another model, or of other settings, or kept by another store.
        DataError: where it, or the model, is of other features, or it is damaged.
        UserError: at the end, where videos could not be used; each of them is logged with its reason by then.
    """
    if collection.recipe is not None:
        localizer.check_recipe(collection.recipe, "those of the videos")
    videos = collection.videos()
    identity = model_identity(localizer)
    if comm.get_rank() == 0 and not has_index(place):
        _create(localizer, identity, collection, place, engine, settings or BuildSettings(), len(videos)).close()
    comm.barrier()
    with open_store(place) as index:
        settings = _check_same(index, localizer, identity, collection.recipe, engine, settings)
        result = _build_share(localizer, collection, _share(videos), index, settings)
        collection.close()
        results = comm.all_gather_objects(result)
        result = _sum(results)
        if comm.get_rank() == 0:
            result.num_removed = _finish(index, {video.video_id for video in videos}, removes_others)
            _summarise(index, result)
        comm.barrier()
    if result.failures and comm.get_rank() == 0:
        raise UserError(
            f"{len(result.failures)} of {len(videos)} videos could not be used, each named above: {place} has the others, "
            "and the same command tries these again"
        )
    return result


# ---- The index ----


def _create(
    localizer: MomentLocalizer,
    identity: str,
    collection: VideoCollection,
    place: str,
    engine: str,
    settings: BuildSettings,
    num_videos: int,
) -> VectorStore:
    if engine == "auto":
        engine = default_store(place, num_videos * len(localizer.cells))
    index = create_store(place, index_info(localizer, settings, collection.recipe, identity), engine)
    get_logger().info("new index %s, kept by the engine %s", place, engine)
    return index


def _check_same(
    index: VectorStore,
    localizer: MomentLocalizer,
    identity: str,
    recipe: FeatureRecipe | None,
    engine: str,
    settings: BuildSettings | None,
) -> BuildSettings:
    """The settings of the index; raises where videos of this model, these features and settings do not belong in it."""
    info, built = index.info, BuildSettings.of(index.info.build)
    if comm.get_world_size() > 1 and not index.takes_writers:
        raise ConfigError(
            f"the engine {index.name} takes one writer at a time: build {index.place} with one process, or an exact index "
            "with several, and copy that by --from"
        )
    if engine not in ("auto", index.name):
        raise ConfigError(
            f"the index {index.place} is kept by the engine {index.name}: leave out --engine {engine}, or copy the index "
            "to another place by --from"
        )
    if info.model != identity:
        raise ConfigError(
            f"the index {index.place} was built by {info.model_name}, and {localizer.source} is another model: add videos "
            "by that one, or choose another place"
        )
    known = None if info.recipe is None else FeatureRecipe.from_dict(info.recipe, f"the index {index.place}")
    if None not in (known, recipe) and known != recipe:
        raise DataError(
            f"the index {index.place} is of features of {known}, but these are {recipe}, which differs in "
            f"{known.differences(recipe)}: extract them like those, or choose another place"
        )
    if settings is not None and settings != built:
        raise ConfigError(
            f"the index {index.place} was built with {_words(built)}, not with {_words(settings)}: leave these out, "
            "or choose another place"
        )
    return built


def _words(settings: BuildSettings) -> str:
    values = {"window": settings.window, "overlap": settings.overlap, "prune": settings.prune}
    return ", ".join(f"{name} {'default' if value is None else f'{value:g}'}" for name, value in values.items())


def _share(videos: Sequence[VideoFile]) -> list[VideoFile]:
    """Those of this process, in their order."""
    share = set(share_out(videos, comm.get_world_size())[comm.get_rank()])
    return [video for video in videos if video in share]


def _finish(index: VectorStore, video_ids: set[str], removes_others: bool) -> int:
    """What one process does when all have put their videos; returns how many it removed."""
    index.refresh()
    others = [name for name in index.videos() if name not in video_ids] if removes_others else []
    index.remove(others)
    index.optimize()
    return len(others)


def _sum(results: Sequence[BuildResult]) -> BuildResult:
    counts = [(part.num_new, part.num_replaced, part.num_unchanged, part.num_removed) for part in results]
    return BuildResult(*map(sum, zip(*counts, strict=True)), sum((part.failures for part in results), []))


def _summarise(index: VectorStore, result: BuildResult) -> None:
    for sentence in result.failures:
        get_logger().error("%s", sentence)
    get_logger().info(
        "%s: %d videos with %d moments; %d new, %d replaced, %d unchanged, %d removed",
        index.place,
        len(index.videos()),
        index.num_moments,
        result.num_new,
        result.num_replaced,
        result.num_unchanged,
        result.num_removed,
    )


# ---- The videos ----


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


def _build_share(
    localizer: MomentLocalizer,
    collection: VideoCollection,
    videos: Sequence[VideoFile],
    index: VectorStore,
    settings: BuildSettings,
) -> BuildResult:
    """Encode and put some videos. The network runs in this thread, whose memory is used again from batch to batch."""
    result, known = BuildResult(), dict(index.videos())
    progress = _Progress(len(videos))
    jobs = _read(localizer, collection, videos, settings, known, result, progress)
    writer = _Writer(index, known, settings, result, progress)
    with contextlib.closing(ahead(_batches(localizer, jobs), DEPTH)) as batches, Behind(DEPTH) as writing:
        for done in _encoded(localizer, batches):
            writing.call(writer.add, done)
        writing.call(writer.flush)
    progress.close()
    return result


def _read(
    localizer: MomentLocalizer,
    collection: VideoCollection,
    videos: Sequence[VideoFile],
    settings: BuildSettings,
    known: Mapping[str, VideoEntry],
    result: BuildResult,
    progress: "_Progress",
) -> Iterator[_Job]:
    """The videos that are to be encoded."""
    for video in videos:
        source = known[video.video_id].source if video.video_id in known else None
        try:
            prepared, found = collection.load(video, localizer, settings, source)
        except DataError as error:
            get_logger().warning("left out: %s", error)
            result.failures.append(str(error))
            progress.advance(1)
            continue
        if prepared is None:
            result.num_unchanged += 1
            progress.advance(1)
        else:
            yield _Job(video, prepared, found)


def _batches(localizer: MomentLocalizer, jobs: Iterator[_Job]) -> Iterator[_Batch]:
    """Windows of videos, as many at a time as go through the network at once."""
    batch: _Batch = []
    for job in jobs:
        for number in range(len(job.prepared.spans)):
            batch.append((job, localizer.window_clips(job.prepared, number)))
            if len(batch) == localizer.batch_size:
                yield batch
                batch = []
    if batch:
        yield batch


def _encoded(localizer: MomentLocalizer, batches: Iterator[_Batch]) -> Iterator[list[_Job]]:
    """After each batch the videos whose windows have all been through the network, with their vectors."""
    for batch in batches:
        done = []
        vectors = localizer.encode_clips(np.stack([clips for _, clips in batch]))
        start = 0
        for number, (job, _) in enumerate(batch):
            if number + 1 < len(batch) and batch[number + 1][0] is job:
                continue  # the video has more windows in the batch
            job.parts.append(tuple(part[start : number + 1].half().cpu() for part in vectors))
            start = number + 1
            if job.is_done:
                done.append(job)
        yield done


class _Writer:
    """Puts videos into an index, many at a time."""

    def __init__(
        self,
        index: VectorStore,
        known: Mapping[str, VideoEntry],
        settings: BuildSettings,
        result: BuildResult,
        progress: "_Progress",
    ):
        self.index = index
        self.known = known
        self.settings = settings
        self.result = result
        self.progress = progress
        self.pending: list[VideoMoments] = []
        self.size = 0
        self.since = time.monotonic()

    def add(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            self.pending.append(job.moments(self.settings))
            self.size += self.pending[-1].contrastive.nbytes + self.pending[-1].iou.nbytes
        if self.size >= PUT_BYTES or time.monotonic() - self.since > PUT_SECONDS:
            self.flush()

    def flush(self) -> None:
        self.index.put(self.pending)
        num_replaced = sum(video.video_id in self.known for video in self.pending)
        self.result.num_replaced += num_replaced
        self.result.num_new += len(self.pending) - num_replaced
        self.progress.advance(len(self.pending))
        self.pending, self.size, self.since = [], 0, time.monotonic()


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


# ---- Without a model ----


def remove_videos(place: str, video_ids: Sequence[str]) -> None:
    """Take videos out of an index. Raises ConfigError where it lacks one, and removes none then."""
    with open_store(place) as index:
        index.remove(video_ids)
        get_logger().info("%s: %d videos removed, %d left", place, len(set(video_ids)), len(index.videos()))


def convert_index(source: str, place: str, engine: str = "auto") -> None:
    """Copy an index to another place, where another store may keep it; the same call again copies what is new.

    Raises ConfigError where the two are of different models or kept by another store than the one asked for.
    """
    if os.path.abspath(source) == os.path.abspath(place):
        raise ConfigError(f"the index {source} is to be copied to itself: choose another place")
    with open_store(source) as original:
        if not has_index(place):
            name = default_store(place, original.num_moments) if engine == "auto" else engine
            create_store(place, original.info, name).close()
        with open_store(place) as target:
            if engine not in ("auto", target.name):
                raise ConfigError(
                    f"the index {place} is kept by the engine {target.name}: leave out --engine {engine}, or choose "
                    "another place"
                )
            num_copied = 0
            for num_copied in copy_index(original, target):
                get_logger().info("%d of %d videos copied", num_copied, len(original.videos()))
            get_logger().info("%s: %d videos, %d of them new", place, len(target.videos()), num_copied)
