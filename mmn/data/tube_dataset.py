"""Splits of HC-STVG: one sentence per video, candidate tubes with features, and perhaps the truth (SPEC section 8)."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from mmn.data.cache import ClipFile, SharedClipCache
from mmn.data.collate import Collator
from mmn.data.feature_tracks import FeatureTracks
from mmn.data.tokenizer import QueryTokenizer
from mmn.data.tube_annotations import TubeAnnotation, TubeFile
from mmn.structures.batch import RowLayout, TubeBatch
from mmn.structures.proposals import ProposalCells
from mmn.structures.tubes import Tubes, tube_iou_maps


class TubeFeatures:
    """The candidate tubes of a split's videos, and the feature tracks of their rows.

    Args:
        tubes: where the tubes are.
        tracks: row r of a video in each of them belongs to row r of its table of tubes.
    """

    def __init__(self, tubes: TubeFile, tracks: FeatureTracks):
        self.tubes = tubes
        self.tracks = tracks

    @property
    def input_size(self) -> int:
        """D, the sum over the tracks."""
        return self.tracks.input_size

    @property
    def paths(self) -> list[str]:
        return [self.tubes.path, *self.tracks.paths]

    def open(self) -> None:
        """Make ready to read. Raises DataError where a file is missing or damaged."""
        self.tubes.open()
        self.tracks.open()

    def be_impatient(self) -> None:
        """Try no read again, see `FeatureTracks.be_impatient`."""
        self.tubes.waits = ()
        self.tracks.be_impatient()

    def check(self, video_ids: Sequence[str]) -> None:
        """Raise DataError unless all files can be read and have every video."""
        self.tubes.check(video_ids)
        self.tracks.check(video_ids)

    def read(self, video_id: str, tubes: Tubes) -> list[np.ndarray]:
        """The rows [L, D] of each tube. Raises DataError unless there is one for each box in every track."""
        stops = tubes.lengths.cumsum(0)[:-1].numpy()
        return np.split(self.tracks.read(video_id, len(tubes.boxes)), stops)

    def resample(self, rows: np.ndarray, num_clips: int) -> np.ndarray:
        """The rows [L, D] of one tube -> clips [P, D]."""
        return self.tracks.resample(rows, num_clips, uses_last_row=True)


@dataclass
class TubeSample:
    """One video with its n candidate tubes.

    Attributes:
        clips: [n, P, D] float32, resampled features.
        tokens: int32 array of the sentence's token ids.
        lengths: [n] int64, frames of each tube.
        ious: [n, M] float32, see `TubeBatch`.
        video_id: its name.
        number: its position in the split's annotation order.
    """

    clips: np.ndarray
    tokens: np.ndarray
    lengths: torch.Tensor
    ious: torch.Tensor
    video_id: str
    number: int


class TubeDataset(Dataset):
    """A split.

    Args:
        name: the split's name, for messages and tables.
        videos: its annotations.
        features: candidate tubes and feature tracks. All tubes are read here, the features when they are needed.
        tokenizer: applied to all sentences at once, here.
        cells: cells of the proposal map.
        num_pre_clips: P.
        thresholds: IoU values of the table.
        make_cache: names of all tubes -> where their resampled features are kept.
    """

    def __init__(
        self,
        name: str,
        videos: list[TubeAnnotation],
        features: TubeFeatures,
        tokenizer: QueryTokenizer,
        cells: ProposalCells,
        num_pre_clips: int,
        thresholds: tuple[float, ...],
        make_cache: Callable[[list[str]], SharedClipCache | ClipFile],
    ):
        self.name = name
        self.videos = videos
        self.features = features
        self.cells = cells
        self.num_pre_clips = num_pre_clips
        self.thresholds = thresholds
        self.tubes = [features.tubes.read_tubes(video.video_id) for video in videos]
        features.tubes.close()
        self.first_tube = np.cumsum([0, *(len(tubes.lengths) for tubes in self.tubes)])
        self.tokens = tokenizer([video.sentence for video in videos])
        self.cache = make_cache(tube_names(videos, self.tubes))

    @property
    def num_videos(self) -> int:
        return len(self.videos)

    @property
    def num_sentences(self) -> int:
        return len(self.videos)

    @property
    def has_truth(self) -> bool:
        """Tell whether the truth of every video is known."""
        return all(video.truth is not None for video in self.videos)

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> TubeSample:
        video, tubes = self.videos[index], self.tubes[index]
        return TubeSample(
            self.clips(index), self.tokens[index], tubes.lengths, self.iou_maps(index), video.video_id, index
        )

    def clips(self, index: int) -> np.ndarray:
        """The resampled features [n, P, D] float32 of a video's tubes."""
        video_id, tubes = self.videos[index].video_id, self.tubes[index]
        first = int(self.first_tube[index])
        read = functools.cache(functools.partial(self.features.read, video_id, tubes))

        def compute(tube: int) -> np.ndarray:
            return self.features.resample(read()[tube], self.num_pre_clips)

        numbers = range(len(tubes.lengths))
        return np.stack([self.cache.get(first + tube, functools.partial(compute, tube)) for tube in numbers])

    def iou_maps(self, index: int) -> torch.Tensor:
        """[n, M] float32, spatio-temporal IoU of the cells of a video's tubes with its truth; 0 where it is unknown."""
        tubes, truth = self.tubes[index], self.videos[index].truth
        if truth is None:
            return torch.zeros(len(tubes.lengths), len(self.cells))
        return tube_iou_maps(self.cells, tubes, truth.select(torch.zeros(len(tubes.lengths), dtype=torch.int64)))


def tube_names(videos: Sequence[TubeAnnotation], tubes: Sequence[Tubes]) -> list[str]:
    """A name for every tube of a split, for the index of a clip file."""
    return [
        f"{video.video_id}#{number}"
        for video, own in zip(videos, tubes, strict=True)
        for number in range(len(own.lengths))
    ]


class TubeCollator(Collator):
    """Samples -> TubeBatch."""

    def __call__(self, samples: Sequence[TubeSample]) -> TubeBatch:
        tokens, token_mask, token_rows = self.pad_tokens([sample.tokens for sample in samples])
        return TubeBatch(
            feats=torch.from_numpy(np.concatenate([sample.clips for sample in samples])),
            tokens=tokens,
            token_mask=token_mask,
            token_rows=token_rows,
            sentence_ids=torch.tensor([sample.number for sample in samples]),
            video_ids=[sample.video_id for sample in samples],
            tubes=RowLayout.from_counts([len(sample.lengths) for sample in samples]),
            lengths=torch.cat([sample.lengths for sample in samples]),
            ious=torch.cat([sample.ious for sample in samples]),
        )
