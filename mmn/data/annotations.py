"""The annotations of a split: its sentences by video, their moments clamped into it (SPEC sections 1 and 11)."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmn.data.annotation_files import SAME_DURATION, SentenceEntry, read_durations, read_sentences
from mmn.structures.rows_id import RowsId, SentenceRows, video_of
from mmn.utils.errors import DataError, listed

SHORTEST, LONGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)  # seconds that float32 holds
TOO_LATE = 2  # factor on durations: moments that end later are not in seconds, videos that last longer not the same
ONLY_START_BELOW_END, OUTSIDE, WITHOUT = "start >= end", "outside the video", "without a moment"


@dataclass(frozen=True, eq=False)
class VideoAnnotation:
    """One video of a split, or one of its sentences where each has feature rows of its own.

    Attributes:
        video_id: its name in the annotation and feature files.
        duration: seconds.
        sentences: S texts.
        windows: S arrays [G, 2] float64 seconds, the moments that each sentence describes; starts at least 0, ends at most
            the duration. G is 0 where a split has no truth.
        qids: S ids that the file gives its sentences; None where it gives none.
        own_rows: the rows of its only sentence; None where the video's are those of all its sentences.
    """

    video_id: str
    duration: float
    sentences: list[str]
    windows: Sequence[np.ndarray]
    qids: Sequence[int | str] | None = None
    own_rows: SentenceRows | None = None

    @property
    def rows_id(self) -> RowsId:
        """The id by which feature tracks find its rows. It is unique in a split, which `video_id` is not."""
        return self.own_rows or self.video_id

    @functools.cached_property
    def moments(self) -> np.ndarray:
        """[W, 2] float32 seconds, the moments of all sentences, those of a sentence one after another."""
        return np.concatenate([np.zeros((0, 2)), *self.windows]).astype(np.float32)

    @functools.cached_property
    def moments_by_sentence(self) -> list[np.ndarray]:
        """S arrays [G, 2] float32 seconds."""
        return [windows.astype(np.float32) for windows in self.windows]

    @functools.cached_property
    def moment_counts(self) -> np.ndarray:
        """[S] int64, how many of `moments` are a sentence's."""
        return np.array([len(windows) for windows in self.windows], dtype=np.int64)


@dataclass
class AnnotationCounts:
    """Counts of the sentences of an annotation file, for its reader to know what was done to them.

    Attributes:
        sentences: those that are used.
        left_out: those that are not, by reason.
        clamped: those of which a moment began before the video or ended after it.
        moments_left_out: moments of used sentences that are not used, by reason.
    """

    sentences: int = 0
    left_out: Counter = field(default_factory=Counter)
    clamped: int = 0
    moments_left_out: Counter = field(default_factory=Counter)

    def __str__(self) -> str:
        text = f"{self.sentences} sentences, {_reasons(self.left_out, 'left out')}, {self.clamped} clamped"
        if self.moments_left_out:
            text += f"; of their moments {_reasons(self.moments_left_out, 'left out')}"
        return text


def _reasons(counts: Counter, what: str) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    return f"{counts.total()} {what}" + (f" ({reasons})" if counts else "")


@dataclass(frozen=True)
class AnnotationFile:
    """The content of an annotation file.

    Attributes:
        videos: in file order; those without a sentence left are dropped.
        counts: use of the file's sentences.
        has_truth: True where the moments are known; a blind test set has none.
    """

    videos: list[VideoAnnotation]
    counts: AnnotationCounts
    has_truth: bool


def read_annotation_file(
    path: str, time_unit: str = "seconds", form: str = "", durations: str = "", by_sentence: bool = False
) -> AnnotationFile:
    """Read and check an annotation file.

    A moment is kept only where start < end in the file's own unit (SPEC section 1), and is clamped into the video; where
    nothing of it is left, it is not used. A sentence without a moment left is not used.

    Args:
        time_unit, form: see `read_sentences`.
        durations: file with the seconds of each video, for a form that does not say them; see `read_durations`.
        by_sentence: see `group_by_rows`.
    Raises DataError for the first part of the file that is wrong, or where nothing in it can be used.
    """
    entries: list[SentenceEntry] = []
    for part in read_sentences(path, form, time_unit):
        if isinstance(part, DataError):
            raise part
        entries += part
    return collect_sentences(path, entries, durations, by_sentence)


def read_annotations(
    path: str, time_unit: str = "seconds", form: str = "", durations: str = ""
) -> list[VideoAnnotation]:
    """The videos of an annotation file, see `read_annotation_file`."""
    return read_annotation_file(path, time_unit, form, durations).videos


def collect_sentences(
    path: str, entries: Sequence[SentenceEntry], durations: str = "", by_sentence: bool = False
) -> AnnotationFile:
    """The sentences of an annotation file by video, in the order in which the file first names these.

    Args:
        by_sentence: see `group_by_rows`.
    Raises DataError where they contradict each other, or where nothing can be used.
    """
    has_truth = _has_truth(path, entries)
    refuse_repeated_qids(path, [entry.qid for entry in entries])
    seconds = _durations(path, entries, durations)
    _refuse_other_units(path, entries, seconds)
    counts, videos = AnnotationCounts(), []
    for rows_id, group in group_by_rows(entries, by_sentence).items():
        video_id = video_of(rows_id)
        duration = seconds[video_id]
        used = [(entry, _used_windows(entry, duration, counts)) for entry in group]
        kept = [(entry, windows) for entry, windows in used if windows is not None]
        if kept:
            qids = [entry.qid for entry, _ in kept if entry.qid is not None]
            texts, windows = [entry.text for entry, _ in kept], [windows for _, windows in kept]
            own_rows = rows_id if isinstance(rows_id, SentenceRows) else None
            videos.append(VideoAnnotation(video_id, duration, texts, windows, qids or None, own_rows))
    if not videos:
        reasons = _reasons(counts.left_out, "left out")
        raise DataError(
            f"the annotation file {path} holds no sentence with start < end inside its video ({reasons}): check that it is "
            "the right one"
        )
    return AnnotationFile(videos, counts, has_truth)


def group_by_rows(entries: Iterable[SentenceEntry], by_sentence: bool) -> dict[RowsId, list[SentenceEntry]]:
    """Sentences by the feature rows that are theirs, in the order in which these are first named.

    Args:
        by_sentence: whether each sentence has rows of its own, as where a track has {qid}. It is then a video of its own
            for batches, samplers, caches and losses: in a batch, another sentence of the same video is one of another
            video to it, also where their moments overlap. A memory bank goes by the video's id, and takes none of it.
    Raises DataError where each sentence has rows of its own, but one has no qid to find them by.
    """
    groups: dict[RowsId, list[SentenceEntry]] = {}
    for entry in entries:
        if by_sentence and entry.qid is None:
            raise DataError(
                f"{entry.where} has a sentence without a qid, but a feature track of the catalog entry has {{qid}} in its "
                "place: take annotations that give each sentence one, such as JSON lines, or tracks that {vid} alone finds"
            )
        rows_id = SentenceRows(entry.video_id, str(entry.qid)) if by_sentence else entry.video_id
        groups.setdefault(rows_id, []).append(entry)
    return groups


def _has_truth(path: str, entries: Sequence[SentenceEntry]) -> bool:
    without = [entry for entry in entries if entry.windows is None]
    if without and len(without) < len(entries):
        raise DataError(
            f"{without[0].where} has no relevant_windows, as {len(without)} of the {len(entries)} sentences of {path}: "
            "give them to all, or to none for a set without truth"
        )
    return not without


def refuse_repeated_qids(path: str, qids: Sequence[int | str | None]) -> None:
    """Raise DataError where some sentences have a qid and others none, or where one stands twice (7 and "7" are one)."""
    known = [str(qid) for qid in qids if qid is not None]
    if known and len(known) < len(qids):
        raise DataError(f"{path} has a qid in {len(known)} of its {len(qids)} sentences: give all of them one, or none")
    repeated = [qid for qid, count in Counter(known).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path} has {len(repeated)} qids more than once ({listed(repeated)}): give each sentence its own"
        )


def _durations(path: str, entries: Iterable[SentenceEntry], durations: str) -> dict[str, float]:
    """Seconds of each video, which all its sentences must agree on."""
    elsewhere = read_durations(durations) if durations else {}
    seconds: dict[str, float] = {}
    for entry in entries:
        duration = elsewhere.get(entry.video_id) if entry.duration is None else entry.duration
        if duration is None:
            reason = (
                f"{durations} lacks it" if durations else "a file with durations is the catalog entry's `durations`"
            )
            raise DataError(f"{entry.where} says no duration of video {entry.video_id}: {reason}")
        if not SHORTEST <= duration <= LONGEST:
            raise DataError(f"{entry.where} has a duration of {duration} seconds: correct it")
        if abs(seconds.setdefault(entry.video_id, duration) - duration) > SAME_DURATION:
            raise DataError(
                f"{entry.where} says that video {entry.video_id} lasts {duration} s, an earlier one "
                f"{seconds[entry.video_id]} s: correct one of them"
            )
    return seconds


def _refuse_other_units(path: str, entries: Iterable[SentenceEntry], seconds: dict[str, float]) -> None:
    """Raise DataError where the times of most moments cannot be seconds of their videos."""
    ends = [
        (end / entry.rate, seconds[entry.video_id])
        for entry in entries
        for start, end in entry.windows or ()
        if start < end
    ]
    ratios = np.array([min(end / duration, LONGEST) for end, duration in ends])
    late = int((ratios >= TOO_LATE).sum())
    if 2 * late > len(ratios):
        unit = "milliseconds" if np.median(ratios) > 100 else "frames (which time_unit: frames reads, with fps)"
        raise DataError(
            f"the annotation file {path} has {late} of its {len(ratios)} moments end at {TOO_LATE} times their video's "
            f"duration or later: are its times {unit}? write seconds"
        )
    if len(ends) >= 5 and all(end <= 1 and duration >= 10 for end, duration in ends):
        raise DataError(
            f"the annotation file {path} has no moment that ends after the first second of its video: are its times "
            "shares of the duration? write seconds"
        )


def _used_windows(entry: SentenceEntry, duration: float, counts: AnnotationCounts) -> np.ndarray | None:
    """The moments [G, 2] of a sentence in seconds, clamped into its video; None, and counted, where none is left."""
    if entry.windows is None:
        counts.sentences += 1
        return np.zeros((0, 2))
    kept, unused, is_clamped = [], Counter[str](), False
    for first, last in entry.windows:
        start, end = max(first / entry.rate, 0), min(last / entry.rate, duration)
        if not first < last:
            unused[ONLY_START_BELOW_END] += 1
        elif not np.float32(start) < np.float32(end):  # what losses and metrics compute with
            unused[OUTSIDE] += 1
        else:
            kept.append((start, end))
            is_clamped |= first < 0 or last / entry.rate > duration
    if not kept:
        counts.left_out[next(iter(unused), WITHOUT)] += 1
        return None
    counts.sentences += 1
    counts.clamped += is_clamped
    counts.moments_left_out += unused
    return np.array(kept, dtype=np.float64)


def count_sentences(videos: Sequence[VideoAnnotation]) -> int:
    """The sentences of all videos."""
    return sum(len(video.sentences) for video in videos)


def sentence_qids(videos: Sequence[VideoAnnotation]) -> Sequence[int | str]:
    """Ids of all sentences: those of the annotation file, else the positions in annotation order."""
    named = [qid for video in videos for qid in video.qids or ()]
    return named or range(count_sentences(videos))


def iterate_sentences(videos: list[VideoAnnotation]) -> Iterator[tuple[VideoAnnotation, int]]:
    """(video, number of the sentence in it), in annotation order."""
    for video in videos:
        for number in range(len(video.sentences)):
            yield video, number
