"""The videos of the page that are searched together, as an index of their moments. The page itself is elsewhere."""

import heapq
import math
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmn.apps.demo.listed_videos import plain
from mmn.apps.demo.video_search import best_ious
from mmn.apps.search.ranking_rules import DEFAULT_PER_VIDEO
from mmn.apps.search.vector_store import is_address
from mmn.utils.clock import clock
from mmn.utils.errors import DataError

if TYPE_CHECKING:
    from mmn.apps.search.moment_index import MomentIndex
    from mmn.apps.search.search_results import SearchResult

TOP_K = 10
REFRESH_SECONDS = 2.0  # how old the view of an index may be that others write to
Truth = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Wanted:
    """The wishes of who searches.

    Attributes:
        videos: ids; empty for all.
        min_length, max_length: seconds, of moments; None is no bound.
        threshold: the least confidence of an answer, in [0, 1]; 0 takes any.
    """

    videos: tuple[str, ...] = ()
    min_length: float | None = None
    max_length: float | None = None
    threshold: float = 0.0

    def options(self, num_videos: int) -> dict[str, Any]:
        """Options of `MomentIndex.search` and `search_like` for a library of so many videos; few may fill the list."""
        num_videos = max(len(set(self.videos)) or num_videos, 1)
        return {
            "top_k": TOP_K,
            "per_video": max(DEFAULT_PER_VIDEO, math.ceil(TOP_K / num_videos)),
            "videos": self.videos or None,
            "min_length": self.min_length or 0.0,
            "max_length": self.max_length,
        }


@dataclass(frozen=True)
class ShownMoment:
    """A moment of a video of the library.

    Attributes:
        video: its id.
        duration: seconds, of the video.
        start, end: seconds.
        problem: why its video cannot be played, a sentence; "" where it can.
    """

    video: str
    duration: float
    start: float
    end: float
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class FoundInLibrary(ShownMoment):
    """A moment that may be what was asked for.

    Attributes:
        score: the value that it is ranked by.
        confidence: see `FoundMoment`, in [0, 1]; None where the index does not say.
        truth: (start, end) of the true moments of its video; empty where none is known.
        iou: its best IoU with them, None where there is none.
    """

    score: float
    confidence: float | None = None
    truth: Truth = ()
    iou: float | None = None


@dataclass(frozen=True)
class LibraryFound:
    """The moments found for a sentence, or for an example.

    Attributes:
        asked: the sentence in quotation marks, or the example in words.
        num_videos: number of videos searched.
        moments: best first.
        truth: all true moments of the sentence in these videos.
        nothing_fits: whether there are no moments because the confidence is below the threshold.
        confidence: that of the best moment of all; None where the index does not say.
        weak: a sentence where no moment fits well; "" where one does.
    """

    asked: str
    num_videos: int
    moments: tuple[FoundInLibrary, ...]
    truth: tuple[ShownMoment, ...] = ()
    nothing_fits: bool = False
    confidence: float | None = None
    weak: str = ""


@dataclass(frozen=True)
class Adding:
    """The progress of videos on their way into a library."""

    done: int
    total: int


@dataclass(frozen=True)
class LibraryState:
    """The size of a library, and what is going on in it.

    Attributes:
        num_missing: videos of the page's list that are not in it, and could be.
        adding: those that are being added; None where nothing is under way.
        problems: sentences about those that could not be added last time.
    """

    num_videos: int
    num_moments: int
    num_missing: int = 0
    adding: Adding | None = None
    problems: tuple[str, ...] = ()


class VideoLibrary:
    """An index that is searched, and the files of its videos. Any number of threads may use it.

    Args:
        index: only read.
        sentences: moments that are known: video id -> sentence -> (start, end) in seconds, one or several.
        files: video id -> file, of those whose file is not where the index says.
    """

    can_grow = False
    adding: Adding | None = None  # the videos of the page's list that are on their way

    def __init__(
        self,
        index: "MomentIndex",
        sentences: Mapping[str, Mapping[str, Truth]] | None = None,
        files: Mapping[str, str] | None = None,
    ):
        self.index = index
        self.files = dict(files or {})
        self.sentences = sentences or {}
        self._truth: dict[str, dict[str, Truth]] = defaultdict(dict)  # plain sentence -> video id -> true moments
        for video_id, known in self.sentences.items():
            for sentence, moments in known.items():
                own = self._truth[plain(sentence)]
                own[video_id] = (*own.get(video_id, ()), *moments)
        self._refreshed = time.monotonic()

    def close(self) -> None:
        """Let go of the index."""
        self.index.close()

    # ---- What is in it ----

    def state(self) -> LibraryState:
        self._refresh()
        videos = self.index.store.videos()
        return LibraryState(len(videos), sum(entry.num_moments for entry in videos.values()))

    def names(self, limit: int) -> list[str]:
        """Ids of videos, in alphabetical order; at most so many."""
        return heapq.nsmallest(limit, self.index.store.videos())

    def examples(self, limit: int) -> list[str]:
        """Sentences that are known to happen in its videos: the first one of each of the first videos."""
        known = self.index.store.videos()
        firsts = (next(iter(self.sentences[name]), None) for name in self.sentences if name in known)
        return list(dict.fromkeys(sentence for sentence in firsts if sentence))[:limit]

    @property
    def is_calibrated(self) -> bool:
        """True where the index tells how confident it is."""
        return self.index.calibration is not None

    @property
    def name(self) -> str:
        """The name of the index's folder, without where it is; "" where it is no folder."""
        place = self.index.store.place
        return "" if is_address(place) else os.path.basename(os.path.abspath(place))

    def file_of(self, video_id: str) -> str:
        """Raises DataError where the index has no such video, or its file is gone or was never known."""
        path = self.path_of(video_id)
        if path:
            return path
        entry = self.index.store.videos().get(video_id)
        if entry is None:
            raise DataError(f"the library has no video {video_id}: search again")
        if entry.path:
            raise DataError(
                f"{video_id} cannot be played: its file {os.path.basename(entry.path)} is not where the index says"
            )
        raise DataError(f"{video_id} cannot be played: it was encoded from features, and its file is not known")

    def path_of(self, video_id: str) -> str:
        """The file of a video as in `file_of`, or "" where there is none."""
        entry = self.index.store.videos().get(video_id)
        paths = () if entry is None else (entry.path, self.files.get(video_id, ""))
        return next((path for path in paths if path and os.path.isfile(path)), "")

    # ---- Searching ----

    def find(self, query: str, wanted: Wanted) -> LibraryFound:
        """The best moments of a sentence. Raises UserError where the sentence or what is wanted cannot be."""
        self._refresh()
        threshold = wanted.threshold if self.is_calibrated and wanted.threshold > 0 else None
        (result,) = self.index.search([query.strip()], threshold=threshold, **self._options(wanted))
        return self._found(f"“{result.query}”", result, wanted, self._truth.get(plain(query)))

    def find_like(self, video_id: str, start: float, end: float, wanted: Wanted) -> LibraryFound:
        """The moments that are most like one of the library's. Raises UserError where there is no such moment."""
        self._refresh()
        result = self.index.search_like(video_id, start, end, **self._options(wanted))
        return self._found(f"Like {video_id}, {clock(start)} to {clock(end)}", result, wanted)

    def _options(self, wanted: Wanted) -> dict[str, Any]:
        return wanted.options(len(self.index.store.videos()))

    def _found(
        self,
        asked: str,
        result: "SearchResult",
        wanted: Wanted,
        truth: Mapping[str, Truth] | None = None,
    ) -> LibraryFound:
        entries = self.index.store.videos()
        searched = set(wanted.videos) or entries.keys()
        truth = {name: moments for name, moments in (truth or {}).items() if name in entries and name in searched}
        found = [moment for moment in result.moments if moment.video in entries]  # one may just have been taken out
        problems = {name: self._problem_of(name) for name in {moment.video for moment in found} | truth.keys()}

        def shown(kind: type[ShownMoment], name: str, start: float, end: float, **values) -> ShownMoment:
            return kind(name, entries[name].duration, start, end, problems[name], **values)

        moments = []
        for moment in found:
            own = truth.get(moment.video, ())
            values = {"score": moment.score, "confidence": moment.confidence, "truth": own}
            iou = best_ious([moment], own)[0] if own else None
            moments.append(shown(FoundInLibrary, moment.video, moment.start, moment.end, iou=iou, **values))
        known = [shown(ShownMoment, name, *span) for name, spans in truth.items() for span in spans]
        answer = (result.nothing_fits, result.confidence, result.weak)
        return LibraryFound(asked, len(searched), tuple(moments), tuple(known), *answer)

    def _problem_of(self, video_id: str) -> str:
        try:
            self.file_of(video_id)
        except DataError as error:
            return f"{error}."
        return ""

    def _refresh(self) -> None:
        """See what other processes have written, where the view is older than REFRESH_SECONDS.

        Raises ConfigError, again and again, where another model has built the index anew.
        """
        if time.monotonic() - self._refreshed > REFRESH_SECONDS:
            self.index.refresh()
            self._refreshed = time.monotonic()
