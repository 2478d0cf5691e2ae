"""Encoding a long video in memory that does not grow with it, from where an earlier run was stopped.

First the feature rows are made, a part of the video at a time, then the vectors of the windows, some windows at a time;
each part goes to a file (`EncodingFiles`). What is made of the files is mapped, so that a query reads what it looks at.
"""

import shutil
import tempfile
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mmn.apps.extraction.video_parts import PART_SECONDS, can_begin_at
from mmn.apps.localize.encoded_video import EncodedVideo, PreparedVideo, cut_video
from mmn.apps.localize.encoding_files import EncodingFiles
from mmn.apps.localize.feature_source import FeatureSource, GivenVideo, Progress
from mmn.apps.localize.find_then_ground import finder_cells
from mmn.apps.localize.identity import features_source, file_source, model_identity
from mmn.apps.localize.moment_encoder import MomentEncoder
from mmn.apps.localize.search_windows import place_windows
from mmn.utils.clock import clock
from mmn.utils.logger import get_logger

PART_BYTES = 2**24  # of vectors in a file, about
LOG_SECONDS = 30.0
FORMAT = 1


@dataclass(frozen=True)
class PartwiseEncoding:
    """Encodes videos in parts.

    Attributes:
        encoder, features, localizer_id: those of the `MomentLocalizer`.
    """

    encoder: MomentEncoder
    features: FeatureSource
    localizer_id: str

    def encode(
        self,
        video: GivenVideo,
        lengths: Sequence[float],
        overlap: float | None,
        cache: str | None,
        on_progress: Progress | None,
    ) -> EncodedVideo:
        """Encode a video, or what of it the files in `cache` lack.

        Args:
            lengths, overlap: seconds of its windows, see `place_windows`.
            cache: the folder that holds the files of any number of videos, each known again by what it was made of; None
                takes one that goes with the result.
            on_progress: called with (seconds decoded, seconds of the video).
        Raises what `MomentLocalizer.encode_video` and `EncodingFiles` raise.
        """
        if cache is not None:
            files = EncodingFiles(cache, self._description(video, lengths, overlap))
            return self._encode(video, lengths, overlap, files, on_progress)
        folder = tempfile.mkdtemp(prefix="mmn-")
        try:
            if video.rows is None:
                get_logger().info(
                    "%s is long: its encoding is kept where a folder for it is given (--cache)", video.name
                )
            encoded = self._encode(video, lengths, overlap, EncodingFiles(folder, {}), on_progress)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(encoded, shutil.rmtree, folder, ignore_errors=True)
        return encoded

    def _encode(
        self,
        video: GivenVideo,
        lengths: Sequence[float],
        overlap: float | None,
        files: EncodingFiles,
        on_progress: Progress | None,
    ) -> EncodedVideo:
        with files.writing():
            if video.rows is None:
                self._make_rows(video, files, on_progress)
            rows = files.load("rows") if video.rows is None else video.rows
            spans = place_windows(len(rows), video.duration, lengths, overlap)
            prepared = cut_video(video.name, video.duration, rows, spans, self.encoder.cells)
            self._make_vectors(prepared, files)
        arrays = {name: files.load(name) for name in self._names}
        vectors = [torch.from_numpy(arrays.get(name, arrays["iou"])) for name in ("contrastive", "iou", "finder")]
        windows, moments = prepared.windows, prepared.moments
        mapped = tuple(array for name, array in arrays.items() if name != "finder")  # which is read by every query
        return EncodedVideo(video.name, video.duration, windows, moments, *vectors, self.localizer_id, mapped)

    @property
    def _names(self) -> tuple[str, ...]:
        """The files of vectors. Of 2D-TAN, earlier versions wrote the same vectors into all three."""
        return ("contrastive", "iou", "finder") if self.encoder.num_vectors == 2 else ("iou",)

    def _description(self, video: GivenVideo, lengths: Sequence[float], overlap: float | None) -> dict[str, object]:
        """All that decides what the files hold."""
        if video.rows is None:
            source = file_source(video.path, self.features.recipe_for(video.path))
        else:
            source = features_source(video.rows, video.duration)
        return {
            "format": FORMAT,
            "model": model_identity(self.encoder),
            "video": source,
            "duration": video.duration,
            "windows": [str(length) for length in lengths],
            "overlap": overlap,
            "part_seconds": PART_SECONDS,
            "batch_size": self.encoder.batch_size,
        }

    def _make_rows(self, video: GivenVideo, files: EncodingFiles, on_progress: Progress | None) -> None:
        if files.has("rows"):
            files.drop_parts("rows")
            return
        if not can_begin_at(self.features.recipe_for(video.path)):
            files.drop_parts("rows")
        done = len(files.parts("rows"))
        if done:
            get_logger().info("%s: %s are there already", video.name, clock(done * PART_SECONDS))
        for number, rows in enumerate(self.features.parts(video, done, on_progress), start=done):
            files.add_part("rows", number, rows)
        files.join("rows", "rows")
        files.drop_parts("rows")

    def _make_vectors(self, video: PreparedVideo, files: EncodingFiles) -> None:
        if files.has(*self._names):
            files.drop_parts("vectors")
            return
        num_windows, size, done = len(video.spans), self._windows_per_part(), len(files.parts("vectors"))
        progress = _WindowProgress(video.name, num_windows, done * size)
        for number, first in enumerate(range(done * size, num_windows, size), start=done):
            windows = [video.rows[start:stop] for start, stop in video.spans[first : first + size]]
            vectors = self.encoder.encode_windows(windows, torch.device("cpu"))
            different = vectors[: self.encoder.num_vectors]
            files.add_part("vectors", number, torch.stack(different, dim=1).numpy())  # [w, 2, M, C], or 1 in place of 2
            progress.advance(len(windows))
        cells = self.encoder.cells
        found_by = finder_cells(cells).numpy() if num_windows > 1 else slice(None)
        choices = {
            "contrastive": lambda part: part[:, 0],
            "iou": lambda part: part[:, -1],
            "finder": lambda part: part[:, 0, found_by],
        }
        for name in self._names:
            files.join("vectors", name, choices[name])
        files.drop_parts("vectors")

    def _windows_per_part(self) -> int:
        """A multiple of those that go through the network at once, so that parts do not change what goes together.

        Two vectors of a moment are counted, also of 2D-TAN, whose parts had two when an earlier version wrote them.
        """
        batch = self.encoder.batch_size
        return batch * max(1, PART_BYTES // (batch * len(self.encoder.cells) * self.encoder.vector_size * 8))


class _WindowProgress:
    """A line in the log now and then."""

    def __init__(self, name: str, num_windows: int, num_done: int):
        self.name = name
        self.num_windows = num_windows
        self.num_done = self.num_earlier = num_done
        self.start = self.last_report = time.monotonic()

    def advance(self, count: int) -> None:
        self.num_done += count
        now = time.monotonic()
        if now - self.last_report < LOG_SECONDS:
            return
        self.last_report = now
        to_go = (now - self.start) * (self.num_windows - self.num_done) / (self.num_done - self.num_earlier)
        get_logger().info("%s: %d of %d windows, eta %s", self.name, self.num_done, self.num_windows, clock(to_go))
