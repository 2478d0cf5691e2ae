"""Extracting many videos into one feature file, on one process or several, from where an earlier run stopped."""

import os
import time
from collections.abc import Iterator, Sequence

import torch

from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.extraction.feature_store import FeatureStore
from mmn.apps.extraction.progress import ExtractionProgress, hours_minutes_seconds
from mmn.apps.extraction.video_files import VideoFile, share_out
from mmn.apps.video.decode import Frame, probe
from mmn.utils import comm
from mmn.utils.errors import DataError, UserError
from mmn.utils.logger import get_logger, setup_logger
from mmn.utils.memory import peak_memory_mb
from mmn.utils.preemption import die_with_the_launcher

# A process that has done its share waits for the others, whose last video may be long.
PATIENCE_MINUTES = 7 * 24 * 60


def start_extraction(device: str) -> torch.device:
    """Process group and log; returns this process's device. `device`: "auto", "cpu" or the name of another."""
    chosen = comm.choose_device(device, key="--device")
    die_with_the_launcher()
    comm.init_process_group(chosen, PATIENCE_MINUTES)
    setup_logger(None, comm.get_rank())
    return chosen


def extract_videos(extractor: FeatureExtractor, videos: Sequence[VideoFile], out: str) -> None:
    """Write the features of all videos to the HDF5 file `out`, each process its share; called on all processes.

    What is in `out` already stays, and is not made again. The file appears, or is replaced, when all processes are done.

    Raises:
        UserError: at the end, where videos could not be used; each of them is logged with its reason by then.
        DataError: where `out` has features of another recipe.
    """
    store = FeatureStore(out, extractor.recipe)
    get_logger().info("features: %s", extractor.recipe)
    done = comm.all_gather_objects(store.prepare() if comm.get_rank() == 0 else None)[0]
    if not all(comm.all_gather_objects(os.path.isdir(store.folder))):
        raise UserError(f"not all machines see {store.folder}: put --out on a file system that they share")
    todo = [video for video in videos if video.video_id not in done]
    if len(todo) < len(videos):
        get_logger().info("%d of %d videos are done already", len(videos) - len(todo), len(videos))
    share = share_out(todo, comm.get_world_size())[comm.get_rank()]
    progress = ExtractionProgress(len(share), sum(video.size for video in share), comm.get_rank() == 0)
    failures = _extract_share(extractor, share, store, progress)
    progress.close()
    _summarise(progress, extractor.device)
    failures = sum(comm.all_gather_objects(failures), [])
    if comm.get_rank() == 0:
        num_new = store.merge()
        get_logger().info(
            "%s: %d videos, %d of them new",
            out,
            len(done | {video.video_id for video in todo}) - len(failures),
            num_new,
        )
    comm.barrier()
    if comm.get_rank() == 0 and failures:
        for sentence in failures:
            get_logger().error("%s", sentence)
        rest = f"{out} has the others" if os.path.exists(out) else f"{out} is not written"
        raise UserError(
            f"{len(failures)} of {len(videos)} videos could not be used, each named above: {rest}, and the same command "
            "tries these again"
        )


def _extract_share(
    extractor: FeatureExtractor, videos: Sequence[VideoFile], store: FeatureStore, progress: ExtractionProgress
) -> list[str]:
    """Write a part for each video; returns a sentence for each that could not be used."""
    failures = []
    for video in videos:
        seconds = 0.0
        try:
            seconds = _extract_video(extractor, video, store, progress)
        except DataError as error:
            get_logger().warning("left out: %s", error)
            failures.append(str(error))
        progress.finish_video(seconds, video.size)
    return failures


def _extract_video(
    extractor: FeatureExtractor, video: VideoFile, store: FeatureStore, progress: ExtractionProgress
) -> float:
    """Write one video's part; returns its length in seconds."""
    info = probe(video.path)
    attributes: dict[str, object] = {"source": os.path.basename(video.path), "num_frames": 0}
    fps = extractor.recipe.fps or info.frame_rate or 1.0

    def counted() -> Iterator[Frame]:
        for frame in extractor.frames(video.path):
            yield frame
            attributes["num_frames"] += 1
            attributes["duration"] = min(max(info.duration, frame.time), frame.time + 1 / fps)
            progress.advance(video.video_id, frame.time, video.size * min(frame.time / max(info.duration, 1e-6), 1.0))

    store.write(video.video_id, extractor.encode(counted(), video.path), attributes)
    return attributes["duration"]


def _summarise(progress: ExtractionProgress, device: torch.device) -> None:
    """Say how fast this process was, on each of them."""
    seconds = time.perf_counter() - progress.start
    speeds = comm.all_gather_objects((progress.num_frames, progress.video_seconds))
    num_frames, video_seconds = map(sum, zip(*speeds, strict=True))
    get_logger().info(
        "%d frames of %s of video in %s: %.1f frames/s, %.2f times real time, peak memory of the first process %.0f MB",
        num_frames,
        hours_minutes_seconds(video_seconds),
        hours_minutes_seconds(seconds),
        num_frames / seconds,
        video_seconds / seconds,
        peak_memory_mb(device),
    )
