"""The moments found in one video, written as a table, a file of json lines, a picture, and video clips."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from terminaltables import AsciiTable

from mmn.apps.localize.encoded_video import EncodedVideo
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.localize.results import QueryResult
from mmn.apps.localize.video_source import VideoSource
from mmn.apps.localize.weak_answers import muted, weak_answer
from mmn.evaluation.prediction_file import prediction_record, write_records
from mmn.utils.clock import clock

COLUMNS = ("", "start", "end", "score", "contrastive", "IoU")


def format_results(video: EncodedVideo, results: Sequence[QueryResult]) -> str:
    """A line about the video, then a table per query."""
    head = f"{video.name}, {video.duration:.1f} s"
    if len(video.windows) > 1:
        lengths = sorted({f"{end - start:.1f}" for start, end in video.windows}, key=float)
        span = lengths[0] if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
        head += f", searched in {len(video.windows)} windows of {span} s"
    lines = [head]
    for result in results:
        rows = [
            [
                str(rank),
                clock(moment.start),
                clock(moment.end),
                f"{moment.score:.3f}",
                "" if moment.contrastive is None else f"{moment.contrastive:.3f}",
                f"{moment.iou:.3f}",
            ]
            for rank, moment in enumerate(result.moments, start=1)
        ]
        table = AsciiTable([list(COLUMNS), *rows])
        table.justify_columns = dict.fromkeys(range(len(COLUMNS)), "right")
        weak = weak_answer(result.moments)
        lines += ["", " ".join(result.query.split()), *([weak, muted(table.table)] if weak else [table.table])]
    return "\n".join(lines)


def write_json(path: str, video: EncodedVideo, results: Sequence[QueryResult]) -> None:
    """Write a prediction file (`mmn.evaluation.prediction_file`), one line per query, without true moments."""
    write_records(
        path,
        (
            prediction_record(
                number,
                result.query,
                video.name,
                video.duration,
                [],
                [[moment.start, moment.end, moment.score] for moment in result.moments],
            )
            for number, result in enumerate(results)
        ),
    )


def plot_results(
    path: str, localizer: MomentLocalizer, source: VideoSource, video: EncodedVideo, results: Sequence[QueryResult]
) -> None:
    """Write the picture of `mmn.apps.visual.localization_picture`; with frames where there is a video file."""
    from mmn.apps.visual.localization_picture import NUM_FRAMES, QueryPicture, draw_localization

    maps = localizer.score_maps(video, [result.query for result in results]).final
    frames = iter(middle_frames(source, results, NUM_FRAMES))
    pictures = []
    for result, windows in zip(results, maps, strict=True):
        best = int(windows.max(axis=(1, 2)).argmax())
        pictures.append(
            QueryPicture(
                result.query,
                np.array([(moment.start, moment.end) for moment in result.moments]).reshape(-1, 2),
                [moment.score for moment in result.moments],
                [next(frames) for _ in result.moments[:NUM_FRAMES]] if source.is_file else [],
                windows[best],
                video.windows[best],
            )
        )
    title = f"{video.name}, {video.duration:.1f} s"
    draw_localization(path, title, video.duration, video.windows, localizer.cells.mask.numpy(), pictures)


def middle_frames(source: VideoSource, results: Sequence[QueryResult], most: int) -> list[np.ndarray]:
    """The frames in the middle of the first moments of every query, in this order."""
    if not source.is_file:
        return []
    from mmn.apps.video.decode import frames_at

    times = [(moment.start + moment.end) / 2 for result in results for moment in result.moments[:most]]
    return [frame.image for frame in frames_at(source.video, times)] if times else []


def write_clips(folder: str, path: str, results: Sequence[QueryResult]) -> None:
    """Cut every moment out of the video file, as FOLDER/<video>_<query>_<rank>_<start>-<end>s.mp4."""
    from mmn.apps.video.encode import cut_video

    for number, result in enumerate(results, start=1):
        for rank, moment in enumerate(result.moments, start=1):
            times = f"{moment.start:.1f}-{moment.end:.1f}s"
            name = f"{Path(path).stem}_query{number}_{rank}_{times}.mp4"
            cut_video(path, moment.start, moment.end, os.path.join(folder, name))
