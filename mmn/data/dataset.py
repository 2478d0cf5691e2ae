"""The one dataset class. What tells datasets apart is their catalog entry."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from mmn.data.annotations import VideoAnnotation, sentence_qids
from mmn.data.cache import ClipFile, SharedClipCache
from mmn.data.feature_tracks import FeatureTracks
from mmn.data.tokenizer import QueryTokenizer


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
        features: the feature tracks.
        tokenizer: applied to all sentences at once, here.
        num_pre_clips: P.
        cache: where resampled features are kept.
        thresholds: IoU values of the recall table.
        has_truth: True where the moments are known.
    Attributes:
        qids: ids of the sentences, see `sentence_qids`.
    """

    def __init__(
        self,
        name: str,
        videos: list[VideoAnnotation],
        features: FeatureTracks,
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
        self.cache = cache
        self.qids = sentence_qids(videos)

    @property
    def num_videos(self) -> int:
        """The videos of the split, each once where its sentences are videos of their own."""
        return len({video.video_id for video in self.videos})

    @property
    def num_sentences(self) -> int:
        return int(self.first_sentence[-1])

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> VideoSample:
        sentences = self.sentence_numbers(index)
        tokens = self.tokens[sentences.start : sentences.stop]
        return VideoSample(self.clips(index), tokens, self.videos[index], sentences.start)

    def video_number(self, index: int) -> int:
        """The video of a sample."""
        return index

    def sentence_numbers(self, index: int) -> range:
        """The sentences of a sample, by their positions in annotation order."""
        return range(*self.first_sentence[index : index + 2].tolist())

    def clips(self, index: int) -> np.ndarray:
        """The resampled features [P, D] float32 of one video."""
        rows_id = self.videos[index].rows_id
        return self.cache.get(index, lambda: self.features.clips(rows_id, self.num_pre_clips))


def summarise_durations(datasets: Sequence[MomentDataset]) -> dict[str, float]:
    """Lengths of the videos of all datasets, in seconds: "median" and "longest".

    Checkpoints carry it as "train_durations", so that whoever uses a model knows what it was trained for.
    """
    durations = [video.duration for dataset in datasets for video in dataset.videos]
    return {"median": float(np.median(durations)), "longest": float(max(durations))}
