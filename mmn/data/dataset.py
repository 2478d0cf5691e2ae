"""The one dataset class. What tells datasets apart is their catalog entry."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from mmn.data.annotations import VideoAnnotation
from mmn.data.cache import ClipFile, SharedClipCache
from mmn.data.features import FeatureFile, resample_clips
from mmn.data.tokenizer import QueryTokenizer
from mmn.utils.errors import DataError


@dataclass
class VideoSample:
    """One video with all of its sentences.

    Attributes:
        clips: [P, D] float32, resampled features.
        tokens: one int32 array of token ids per sentence.
        annotation: id, duration, sentences and moments.
        first_sentence: position of its first sentence in the split's annotation order.
    """

    clips: np.ndarray
    tokens: list[np.ndarray]
    annotation: VideoAnnotation
    first_sentence: int


class MomentDataset(Dataset):
    """A split: videos with their sentences and moments.

    Args:
        name: the split's name, for messages and tables.
        videos: its annotations.
        features: where the feature rows are.
        tokenizer: applied to all sentences at once, here.
        num_pre_clips: P.
        cache: where resampled features are kept.
        thresholds: IoU values of the recall table.
        has_truth: True where the moments are known.
    Attributes:
        qids: ids of the sentences: those of the annotation file, else the positions in annotation order.
    """

    def __init__(
        self,
        name: str,
        videos: list[VideoAnnotation],
        features: FeatureFile,
        tokenizer: QueryTokenizer,
        num_pre_clips: int,
        cache: SharedClipCache | ClipFile,
        thresholds: tuple[float, ...],
        has_truth: bool = True,
    ):
        self.name = name
        self.videos = videos
        self.features = features
        self.num_pre_clips = num_pre_clips
        self.thresholds = thresholds
        self.has_truth = has_truth
        self.pad_id = tokenizer.pad_id
        counts = [len(video.sentences) for video in videos]
        self.first_sentence = np.cumsum([0, *counts])
        self.tokens = tokenizer([sentence for video in videos for sentence in video.sentences])
        if any((video.moment_counts > 1).any() for video in videos):
            raise DataError(f"the split {name} has sentences with several moments, which is not supported yet")
        self.cache = cache
        named = [qid for video in videos for qid in video.qids or ()]
        self.qids: Sequence[int | str] = named or range(self.num_sentences)

    @property
    def num_sentences(self) -> int:
        return int(self.first_sentence[-1])

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> VideoSample:
        video = self.videos[index]
        first, stop = self.first_sentence[index : index + 2]
        return VideoSample(self.clips(index), self.tokens[first:stop], video, int(first))

    def clips(self, index: int) -> np.ndarray:
        """The resampled features [P, D] float32 of one video."""
        video_id = self.videos[index].video_id
        return self.cache.get(index, lambda: resample_clips(self.features.read(video_id), self.num_pre_clips))


def summarise_durations(datasets: Sequence[MomentDataset]) -> dict[str, float]:
    """Lengths of the videos of all datasets, in seconds: "median" and "longest".

    Checkpoints carry it as "train_durations", so that whoever uses a model knows what it was trained for.
    """
    durations = [video.duration for dataset in datasets for video in dataset.videos]
    return {"median": float(np.median(durations)), "longest": float(max(durations))}
