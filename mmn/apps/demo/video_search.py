"""Asking a model about a video: what the page shows, without the page."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmn.apps.demo.listed_videos import file_state
from mmn.apps.visual import draw_score_map, image_of, styled_figure
from mmn.structures.moments import temporal_iou

if TYPE_CHECKING:
    from mmn.apps.localize.encoded_video import EncodedVideo
    from mmn.apps.localize.localizer import MomentLocalizer
    from mmn.apps.localize.results import LocalizedMoment
    from mmn.apps.search.search_results import FoundMoment

TOP_K = 5
MAP_TITLES = {"final": "Final score", "contrastive": "Contrastive score (cosine)", "iou": "IoU score"}


@dataclass(frozen=True)
class Found:
    """The moments found for one query.

    Attributes:
        query: the sentence.
        duration: seconds, of the video.
        moments: best first.
        truth: (start, end) in seconds of the true moments; empty where they are not known.
        ious: IoU of each moment with the true moments, None where they are not known.
        maps: the score maps as an image [H, W, 3] uint8 RGB.
    """

    query: str
    duration: float
    moments: "tuple[LocalizedMoment, ...]"
    truth: tuple[tuple[float, float], ...]
    ious: tuple[float, ...] | None
    maps: np.ndarray


class VideoSearch:
    """A model, and the videos it was last asked about, which are encoded once. Any number of threads may use it.

    Args:
        localizer: the model.
        num_kept: encoded videos that are kept.
    """

    def __init__(self, localizer: "MomentLocalizer", num_kept: int = 16):
        self.localizer = localizer
        self.num_kept = num_kept
        self._videos: OrderedDict[tuple, EncodedVideo] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, path: str, keep: bool = True) -> "EncodedVideo":
        """A video file as the model sees it, kept for those who ask about it. Raises UserError where it cannot be used."""
        key = file_state(path)
        with self._lock:
            if key in self._videos:
                self._videos.move_to_end(key)
                return self._videos[key]
        video = self.localizer.encode_video(path)
        if not keep:
            return video
        with self._lock:
            self._videos[key] = video
            while len(self._videos) > self.num_kept:
                self._videos.popitem(last=False)
        return video

    def find(self, path: str, query: str, truth: tuple[tuple[float, float], ...] = ()) -> Found:
        """The best moments of a query in a video file. Raises UserError where the file or the query cannot be used."""
        video = self.encode(path)
        query = query.strip()
        (result,) = self.localizer.localize(video, [query], top_k=TOP_K)
        ious = best_ious(result.moments, truth) if truth else None
        return Found(query, video.duration, result.moments, truth, ious, self._draw_maps(video, query, result, truth))

    def _draw_maps(self, video: "EncodedVideo", query: str, result, truth: tuple) -> np.ndarray:
        """The three maps of the window in which the best moment lies."""
        maps = self.localizer.score_maps(video, [query])
        window = int(maps.final[0].max(axis=(1, 2)).argmax())
        start, end = video.windows[window]
        moments = np.array([(moment.start, moment.end) for moment in result.moments]).reshape(-1, 2)
        mask = self.localizer.cells.mask.numpy()
        with styled_figure(12, 3.9) as figure:
            for axes, (name, title) in zip(figure.subplots(1, 3), MAP_TITLES.items(), strict=True):
                scores = getattr(maps, name)[0, window]
                draw_score_map(axes, scores, mask, end - start, title, moments, truth, start=start)
            return image_of(figure)


def best_ious(
    moments: "Sequence[LocalizedMoment | FoundMoment]", truth: Sequence[tuple[float, float]]
) -> tuple[float, ...]:
    """The best IoU of each moment with one of the true moments, (start, end) in seconds."""
    bounds = torch.tensor([(moment.start, moment.end) for moment in moments]).view(-1, 2)
    return tuple(temporal_iou(bounds[:, None], torch.tensor(truth)).amax(dim=1).tolist())
