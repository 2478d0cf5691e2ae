"""The kinds of entry in the dataset catalog, and their feature tracks: data only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import ClassVar

from mmn.structures.metric_names import RECALL
from mmn.structures.rows_id import QID

TRACK_FORMATS = ("hdf5", "npz", "npy", "pt")  # of the files of a feature track
PATH_FIELDS = ("annotation", "durations", "tubes")  # of the entries, besides the path of each track


@dataclass(frozen=True, kw_only=True)
class Track:
    """Place of one feature track: in one HDF5 file, or in a folder with a file for each video.

    Attributes:
        path: the file, or the folder, relative to DATASETS.ROOT.
        format: one of TRACK_FORMATS.
        file: for formats other than hdf5, a video's file in the folder, with `{vid}` for the video id. `{qid}` stands for
            the id of a sentence, where each has rows of its own; `key` may have it as well.
        key: place of a video's array: its HDF5 path, with `{vid}`; its name in an npz file or in the dict of a pt file.
            "" for files that hold the array itself.
        selection: part of the array that makes [T0, D], such as "[:, -1, 0, :]"; "" takes all of it.
        width: D, where the entry states it; else MODEL.MMN.FEATPOOL.INPUT_SIZE does.
        name: the track's name in recipes, by which a model tells an order of tracks from another; None where it is open.
    """

    path: str
    format: str = "hdf5"
    file: str = ""
    key: str = "{vid}"
    selection: str = ""
    width: int | None = None
    name: str | None = None

    @property
    def is_by_sentence(self) -> bool:
        """Tell whether each sentence of a video has rows of its own."""
        return QID in self.file + self.key


@dataclass(frozen=True)
class CatalogEntry:
    """Place of one split and the way it is read. Paths are relative to DATASETS.ROOT.

    Attributes:
        annotation: file with the sentences and their moments (SPEC sections 1 and 11).
        tracks: the feature tracks; they are joined along D in this order.
        time_unit: "seconds" (the entry has `duration`) or "frames" (it has `fps` and `num_frames`).
        thresholds: the IoU values of the recall table.
        format: form of the annotation file, a key of `mmn.structures.annotation_forms.FORMS`; "" finds it out.
        durations: file with the seconds of each video, for annotations that do not say them; "" for none.
        clip_seconds: time that one feature row covers, where it is known.
        metrics: metrics that the split is scored by once it is predicted, a key of `METRICS`.
        window_seconds: length of the windows that videos of hours are cut into for a network, which sees one at a time;
            None takes videos as they are. `mmn test-long` searches whole videos all the same.
        vid_suffix: end that the video ids have in the feature files, but not in the annotations, such as "-cam-002".
        licence: sentence about the licence of the data, for the cards of models that are trained on it; "" for not known.
    """

    annotation: str
    tracks: tuple[Track, ...]
    time_unit: str = "seconds"
    thresholds: tuple[float, ...] = (0.3, 0.5, 0.7)
    format: str = ""
    durations: str = ""
    clip_seconds: float | None = None
    window_seconds: float | None = None
    vid_suffix: str = ""
    metrics: str = RECALL
    licence: str = ""

    @property
    def is_by_sentence(self) -> bool:
        """Tell whether each sentence is a video of its own for a network, since a track has rows for it alone."""
        return any(track.is_by_sentence for track in self.tracks)


@dataclass(frozen=True)
class TubeEntry:
    """Place of a split of HC-STVG (docs/STVG.md). Paths are relative to DATASETS.ROOT.

    Attributes:
        annotation: json file `{video: {"sentence", and where the truth is known "st_frame", "ed_frame", "bbox"}}`.
        tubes: HDF5 file with the candidate tubes.
        tracks: feature tracks of their rows.
        feature_key: HDF5 path of a video's tubes, with `{vid}` for the video.
        thresholds: the IoU values of the table.
        licence: see `CatalogEntry`.
    """

    annotation: str
    tubes: str
    tracks: tuple[Track, ...]
    feature_key: str = "{vid}"
    thresholds: tuple[float, ...] = (0.3, 0.5)
    licence: str = ""
    metrics: ClassVar[str] = RECALL


def track_names(tracks: Sequence[Track]) -> list[str | None]:
    """The name of each track: its own, or what tells its place from the others'; None where there is nothing to tell.

    >>> track_names([Track(path="a/clip_features"), Track(path="a/slowfast_features")])
    ['clip', 'slowfast']
    """
    parts = [re.split(r"[/_.\-]", f"{track.path}/{track.file}/{track.key}") for track in tracks]
    first = _num_common(parts)
    last = _num_common([words[first:][::-1] for words in parts])
    apart = ["_".join(words[first : len(words) - last]) for words in parts]
    return [track.name or word or None for track, word in zip(tracks, apart, strict=True)]


def _num_common(words: Sequence[Sequence[str]]) -> int:
    """The number of first words that all lists begin with."""
    return len(list(takewhile(lambda same: len(set(same)) == 1, zip(*words, strict=False))))
