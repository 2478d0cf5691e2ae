"""Stand-in features for real annotations, so that the real pipeline can be rehearsed before fetching the licensed ones.

The rows inside a moment carry the words of its sentence: every word has a random unit vector that its hash decides, a
sentence is the normalised sum of its content words' vectors, and overlapping moments add up. Gaussian noise lies over
all rows. A result on such features says that the pipeline works, nothing about real videos; the file says so itself.
"""

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np

from mmn.apps.synthetic.options import SimulationOptions
from mmn.data.annotation_files import DURATION_KEYS, find_form, read_annotation_json, read_annotation_text
from mmn.data.annotations import read_annotations
from mmn.structures.annotation_forms import JSON
from mmn.utils.errors import DataError
from mmn.utils.files import atomic_path

WORD = re.compile(r"\w+")
STOP_WORDS = frozenset(
    WORD.findall(
        """a an the this that these those some another other and or but as while when then before after again
        he she it they them their his her its him i we you who which
        is are was were be been being has have had do does did
        of to in on at by for from with into onto out up down off over there
        person people someone somebody"""
    )
)
DESCRIPTION = "SIMULATED features: annotated words under noise, made by tools/simulate_features.py; not from videos."
VECTOR_CACHE = 4096  # words kept in memory: 64 MB at 4096 dimensions


@dataclass
class AnnotatedVideo:
    """One video in all annotation files together; times in seconds, moments as (start, end, sentence)."""

    duration: float
    moments: set[tuple[float, float, str]] = field(default_factory=set)


def simulate_features(
    annotation_files: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    options: SimulationOptions,
    text_encoder: str | os.PathLike | None = None,
    log: Callable[[str], None] = print,
) -> Path:
    """Write the features of all videos of `annotation_files` to the HDF5 file `out` and return its path.

    A video depends on its id, its moments and the options only, not on the order of the files or of their videos. Only
    one video's rows are in memory at a time, and the file appears whole or not at all.

    Args:
        text_encoder: a folder for a small random text encoder (`tiny_encoder.py`) with the sentences' vocabulary.
        log: takes progress lines.
    """
    videos = collect_videos(annotation_files)
    out = Path(out)
    write_features(out, videos, options, log)
    if text_encoder is not None:
        write_text_encoder(text_encoder, videos.values(), options.seed, log)
    return out


def write_text_encoder(
    folder: str | os.PathLike, videos: Iterable[AnnotatedVideo], seed: int, log: Callable[[str], None]
) -> None:
    """Write a small random text encoder (`tiny_encoder.py`) with the vocabulary of all sentences into `folder`."""
    from mmn.apps.synthetic.tiny_encoder import write_tiny_encoder  # its libraries take seconds to import

    sentences = (sentence for video in videos for _, _, sentence in video.moments)
    write_tiny_encoder(folder, sentences, hidden_size=128, seed=seed)
    log(f"{folder}: random text encoder")


def write_features(
    out: Path, videos: dict[str, AnnotatedVideo], options: SimulationOptions, log: Callable[[str], None]
) -> None:
    """Write the features of `videos` to `out` (whole or not at all), logging every tenth of the way."""
    words = WordVectors(options.dim, options.seed)
    with atomic_path(os.fspath(out)) as scratch, h5py.File(scratch, "w") as file:
        file.attrs["description"] = DESCRIPTION
        file.attrs.update(asdict(options))
        for index, (vid, video) in enumerate(videos.items(), 1):
            file[options.feature_key.replace("{vid}", vid)] = simulate_video(vid, video, words, options)
            if index == len(videos) or index % max(1, len(videos) // 10) == 0:
                log(f"{out}: {index} of {len(videos)} videos")


def collect_videos(annotation_files: Iterable[str | os.PathLike]) -> dict[str, AnnotatedVideo]:
    """Video id -> its duration and the union of its moments in all files, each distinct moment once.

    Raises DataError where a file cannot be used, or two files contradict each other on a video's duration.
    """
    videos: dict[str, AnnotatedVideo] = {}
    for path in annotation_files:
        path = os.fspath(path)
        for entry in read_annotations(path, detect_time_unit(path)):
            video = videos.setdefault(entry.video_id, AnnotatedVideo(entry.duration))
            if abs(video.duration - entry.duration) > 0.01:
                raise DataError(
                    f"video {entry.video_id} lasts {entry.duration:.2f} s in {path} but {video.duration:.2f} s in an "
                    "earlier annotation file: give files of one dataset"
                )
            video.moments.update(
                (start, end, sentence)
                for moments, sentence in zip(entry.moments_by_sentence, entry.sentences, strict=True)
                for start, end in moments.tolist()
            )
    if not videos:
        raise DataError("no annotation file was given: name at least one")
    return videos


def detect_time_unit(path: str) -> str:
    """ "seconds" where the file's first entry has a `duration`, "frames" where it has `num_frames` and `fps`."""
    if find_form(path, read_annotation_text(path)) != JSON:
        return "seconds"
    vid, entry = next(iter(read_annotation_json(path).items()))
    if any(key in entry for key in DURATION_KEYS):
        return "seconds"
    if "num_frames" in entry and "fps" in entry:
        return "frames"
    raise DataError(f"video {vid} of {path} has neither duration nor num_frames and fps: add one of the two")


def simulate_video(
    vid: str, video: AnnotatedVideo, words: "WordVectors", options: SimulationOptions, num_rows: int | None = None
) -> np.ndarray:
    """Feature rows float32 [T0, D] of one video; the rows share the duration evenly.

    Args:
        num_rows: T0; by default that of `options.fps`.
    """
    if num_rows is None:
        num_rows = max(1, math.ceil(video.duration * options.fps))
    rng = np.random.default_rng([options.seed, stable_hash(vid)])
    rows = rng.standard_normal((num_rows, options.dim), dtype=np.float32) * np.float32(
        options.noise / math.sqrt(options.dim)
    )
    moments = sorted(video.moments)  # the order of the sum decides its last bits
    bounds = np.array([moment[:2] for moment in moments])
    sentences = np.stack([words.sentence(sentence) for _, _, sentence in moments])
    return rows + coverage(bounds, video.duration, num_rows) @ sentences


def coverage(bounds: np.ndarray, duration: float, num_rows: int) -> np.ndarray:
    """The share of each row's time that lies inside each moment, float32 [num_rows, S].

    Args:
        bounds: [S, 2] start and end in seconds.

    >>> coverage(np.array([[1.0, 2.5]]), 4.0, 4)[:, 0].tolist()
    [0.0, 1.0, 0.5, 0.0]
    """
    edges = np.arange(num_rows + 1)[:, None] * (duration / num_rows)
    inside = np.minimum(edges[1:], bounds[:, 1]) - np.maximum(edges[:-1], bounds[:, 0])
    return (np.maximum(inside, 0) * (num_rows / duration)).astype(np.float32)


class WordVectors:
    """Fixed random vectors of words and sentences, the same in every process and for every vocabulary."""

    def __init__(self, dim: int, seed: int):
        self.dim = dim
        self.seed = seed
        self.word = lru_cache(maxsize=VECTOR_CACHE)(self._draw)

    def sentence(self, sentence: str) -> np.ndarray:
        """Float32 unit vector [D]: the normalised sum of the vectors of the sentence's content words."""
        total = np.sum([self.word(word) for word in content_words(sentence)], axis=0)
        return total / np.linalg.norm(total)

    def _draw(self, word: str) -> np.ndarray:
        vector = np.random.default_rng([self.seed, stable_hash(word)]).standard_normal(self.dim, dtype=np.float32)
        return vector / np.linalg.norm(vector)


def content_words(sentence: str) -> list[str]:
    """The lower-case words that are no stop words; all words, or else the sentence itself, where none is left.

    >>> content_words("A person opens the door.")
    ['opens', 'door']
    """
    words = WORD.findall(sentence.lower())
    return [word for word in words if word not in STOP_WORDS] or words or [sentence]


def stable_hash(text: str) -> int:
    """A 64-bit hash of the text that, unlike `hash`, is the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
