"""Searching an index by sentences and by moments: the Python API. docs/SEARCH.md has a worked example.

from mmn import MomentIndex

index = MomentIndex.open("library", "pool_model_best.pth")
for result in index.search(["a person opens a door"], top_k=10):
    for moment in result.moments:
        print(moment.video, moment.start, moment.end, moment.score)
"""

import math
import os
import threading
from collections.abc import Collection, Sequence
from numbers import Integral, Real

import numpy as np
import torch

from mmn.apps.localize.encoded_video import EncodedVideo
from mmn.apps.localize.identity import model_identity
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.localize.moment_encoder import usable_device
from mmn.apps.localize.query_checks import check_top_k, checked_queries
from mmn.apps.search.confidence import Calibration, not_calibrated
from mmn.apps.search.index_types import MomentFilter, VideoMoments
from mmn.apps.search.ranking_rules import DEFAULT_PER_VIDEO, DEFAULT_RULE, EXAMPLE_RULE, find_rule
from mmn.apps.search.retrieval import RankedMoments, SearchPlan, Span, retrieve
from mmn.apps.search.search_results import FoundMoment, SearchResult
from mmn.apps.search.vector_store import VectorStore, open_store
from mmn.apps.search.whole_videos import WholeMapRule
from mmn.modeling.match_rules import COSINE
from mmn.modeling.scoring import IOU_SCORE_SCALE
from mmn.structures.moments import temporal_iou
from mmn.structures.query_vectors import HEADS, QueryVectors
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import ConfigError


class MomentIndex:
    """An index that is open, together with the model that it was built by.

    Any number of threads may search at once. What other processes write is seen after `refresh`.

    Args:
        engine: the store, which keeps the vectors and compares them; see `mmn.apps.search.vector_store` for the two words.
        localizer: encodes the queries.
        prewarm: read at once what every search needs, which pays from the second search on.
    Raises ConfigError where the index is of another model, or of other features.
    """

    def __init__(self, engine: VectorStore, localizer: MomentLocalizer, prewarm: bool = True):
        self.identity = model_identity(localizer.encoder)
        check_model(engine, localizer, self.identity)
        if prewarm:
            engine.prewarm()
        self.store = engine
        self.localizer = localizer
        self._refresh_lock = threading.Lock()

    @classmethod
    def open(
        cls,
        place: str | os.PathLike,
        localizer: MomentLocalizer | str | os.PathLike,
        device: torch.device | str | None = None,
    ) -> "MomentIndex":
        """The index in a folder, or at a server's address.

        Args:
            localizer: the model that built it, or its checkpoint.
            device: place where an exact index compares moments, which then stay there; by default the CPU, from the files.
        Raises:
            DataError: there is no index, or it is damaged.
            ConfigError: it was built by another model, or from other features.
        """
        store = open_store(os.fspath(place))
        try:
            if not isinstance(localizer, MomentLocalizer):
                localizer = MomentLocalizer.from_checkpoint(localizer)
            index = cls(store, localizer)
            if device is not None:
                store.use_device(usable_device(device))
            return index
        except BaseException:
            store.close()
            raise

    def refresh(self) -> None:
        """See what was written to the index since it was opened or last refreshed.

        Raises ConfigError where another index has taken its place, of another model.
        """
        with self._refresh_lock:
            self.store.refresh()
            check_model(self.store, self.localizer, self.identity)

    def close(self) -> None:
        """Let go of files and connections."""
        self.store.close()

    def __enter__(self) -> "MomentIndex":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def engine(self) -> VectorStore:
        """The store."""
        return self.store

    @property
    def calibration(self) -> Calibration | None:
        """The calibration, which turns scores into confidence: the index's own, else the one that the model brings.

        None where there is neither.
        """
        values, where = self.store.info.calibration, self.store.place
        if values is None:
            values, where = self.localizer.calibration, self.localizer.source
        return None if values is None else Calibration.from_dict(values, where)

    # ---- Searching ----

    def search(
        self, queries: str | Sequence[str], top_k: int = 10, threshold: float | None = None, **options
    ) -> list[SearchResult]:
        """The best moments of each query in the whole library.

        Args:
            queries: S sentences, searched in one go, equal ones once; a text is one sentence.
            top_k: moments per query; there are fewer only where no more pass.
            threshold: a query whose confidence is below it gets no moments.
            options: see `plan`.
        Returns:
            S results, in the order of the queries.
        Raises ConfigError for a query or an option that cannot be, and for a threshold on an index without calibration.
        """
        queries, distinct = checked_queries(queries)
        plan = self.plan(top_k, **options)
        self._check_threshold(threshold)
        found = self._search(self.localizer.encode_queries(distinct), distinct, plan, threshold)
        by_query = dict(zip(distinct, found, strict=True))
        return [by_query[query] for query in queries]

    def search_paraphrases(
        self, sentences: str | Sequence[str], top_k: int = 10, threshold: float | None = None, **options
    ) -> SearchResult:
        """The best moments of one query that is worded in several ways; arguments as in `search`.

        The sentences' unit vectors are averaged in each joint space, and the means brought to unit length again.
        """
        _, distinct = checked_queries(sentences)
        plan = self.plan(top_k, **options)
        self._check_threshold(threshold)
        vectors = self.localizer.encode_queries(distinct)
        mean = QueryVectors(*(_unit_mean(vectors.vectors(head)) for head in HEADS))
        return self._search(mean, [" / ".join(distinct)], plan, threshold)[0]

    def search_like(
        self,
        video: str | EncodedVideo,
        start: float,
        end: float,
        top_k: int = 10,
        rule: str = EXAMPLE_RULE,
        **options,
    ) -> SearchResult:
        """Moments that are like one moment: query by example.

        The example is that moment of the video which has the best IoU with the span; its vectors take the place of a
        sentence's. Moments of the same video that overlap the span are left out of the answer.

        Args:
            video: an id of the index, or a video that the index's model has encoded.
            start, end: seconds.
            top_k, rule, options: those of `search`.
        Raises ConfigError where the index has no such video, the video no such span, or another model encoded it.
        """
        plan = self.plan(top_k, rule=rule, **options)
        moments = self._moments_of(video)
        if not all(isinstance(bound, Real) for bound in (start, end)) or not 0 <= start < end <= moments.duration + 0.1:
            raise ConfigError(
                f"the example is {moments.video_id} from {start} to {end} s, but the video is {moments.duration:.1f} s "
                "long: give a start and a later end within it"
            )
        ious = temporal_iou(torch.from_numpy(moments.moments), torch.tensor([start, end], dtype=torch.float32))
        best = int(ious.argmax())
        example = QueryVectors(*(moments.vectors(head)[best : best + 1].astype(np.float32) for head in HEADS))
        words = f"like {moments.video_id} from {start:g} to {end:g} s"
        (ranked,) = retrieve(self.store, example, plan, Span(moments.video_id, start, end))
        return SearchResult(words, self._found_moments(ranked), is_example=True)

    def plan(
        self,
        top_k: int = 10,
        per_video: int | None = DEFAULT_PER_VIDEO,
        videos: Collection[str] | None = None,
        min_length: float = 0.0,
        max_length: float | None = None,
        rule: str = DEFAULT_RULE,
        nms_threshold: float | None = None,
        exact: bool = False,
    ) -> SearchPlan:
        """The options of a search, checked.

        Args:
            top_k: moments per query.
            per_video: moments of one video among these at most; None for any number.
            videos: ids of those to search; None for all.
            min_length, max_length: seconds, of the moments to consider; None is no bound.
            rule: the name of what moments are ranked by, one of `mmn.apps.search.ranking_rules.RULES`.
            nms_threshold: an IoU; of two moments of a video above it the better one stays; by default the model's.
            exact: compare with every moment, where the index's engine would approximate.
        Raises ConfigError for a value that cannot be.
        """
        check_top_k(top_k)
        if per_video is not None and (not isinstance(per_video, Integral) or per_video < 1):
            raise ConfigError(f"per_video is {per_video}: it must be a whole number of at least 1, or None")
        nms_threshold = self.localizer.nms_threshold if nms_threshold is None else nms_threshold
        if not isinstance(nms_threshold, Real) or not 0 <= nms_threshold <= 1:
            raise ConfigError(f"nms_threshold is {nms_threshold}: it must be an IoU, from 0 to 1")
        where = MomentFilter(videos, min_length, math.inf if max_length is None else max_length)
        power = self.localizer.contrastive_power
        match = self.localizer.rule.match
        whole = None if match == COSINE else WholeMapRule(match, self.localizer.cells)
        return SearchPlan(find_rule(rule), power, int(top_k), float(nms_threshold), per_video, where, exact, whole)

    def _search(
        self, vectors: QueryVectors, names: Sequence[str], plan: SearchPlan, threshold: float | None
    ) -> list[SearchResult]:
        calibration, results = self.calibration, []
        num_videos = len(self.store.videos() if plan.where.videos is None else set(plan.where.videos))
        for name, ranked in zip(names, retrieve(self.store, vectors, plan), strict=True):
            if calibration is None:
                results.append(SearchResult(name, self._found_moments(ranked)))
                continue
            confidence = calibration.confidence(np.append(ranked.video_best, ranked.best), max(num_videos, 1)).tolist()
            nothing_fits = threshold is not None and confidence[-1] < threshold
            moments = () if nothing_fits else self._found_moments(ranked, confidence[:-1])
            results.append(SearchResult(name, moments, confidence[-1], nothing_fits))
        return results

    def _found_moments(
        self, ranked: RankedMoments, confidence: Sequence[float | None] | None = None
    ) -> tuple[FoundMoment, ...]:
        known = self.store.videos()  # without those that were just removed
        paths = [known[video].path if video in known else "" for video in ranked.videos]
        expected = 1 / (1 + np.exp(-IOU_SCORE_SCALE * ranked.iou))
        numbers = (*ranked.moments.T, ranked.scores, ranked.contrastive, expected)
        confidence = [None] * len(paths) if confidence is None else confidence
        columns = (ranked.videos, *(column.tolist() for column in numbers), paths, confidence)
        return tuple(FoundMoment(*values) for values in zip(*columns, strict=True))

    def _check_threshold(self, threshold: float | None) -> None:
        if threshold is None:
            return
        if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise ConfigError(f"the threshold is {threshold}: it must be a confidence, from 0 to 1")
        if self.calibration is None:
            raise not_calibrated(self.store.place, f", so no confidence can be held against the threshold {threshold}")

    def _moments_of(self, video: str | EncodedVideo) -> VideoMoments:
        if not isinstance(video, EncodedVideo):
            return self.store.read(video)
        if video.localizer_id != self.localizer.id:
            raise ConfigError(f"{video.name} was encoded by another model: encode it by the index's")
        parts = (video.moments, video.moments_contrastive, video.moments_iou)
        moments, contrastive, iou = (part.flatten(0, 1).cpu().numpy() for part in parts)
        return VideoMoments(video.name, video.duration, moments, contrastive, iou)


def _unit_mean(vectors: np.ndarray) -> np.ndarray:
    """Mean of unit vectors [n, C] at unit length -> [1, C]; opposite ones, whose mean is 0, stay 0."""
    mean = vectors.mean(axis=0, keepdims=True)
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def check_model(store: VectorStore, localizer: MomentLocalizer, identity: str) -> None:
    """Raise ConfigError where the index's vectors do not compare with the model's, whose `model_identity` is given."""
    info = store.info
    if info.model != identity:
        raise ConfigError(
            f"the index {store.place} was built by {info.model_name} ({info.model[:12]}), but {localizer.source} "
            f"({identity[:12]}) is another model: search with the one that built it, or build an index by this one"
        )
    if info.recipe is None or localizer.recipe is None:
        return
    recipe = FeatureRecipe.from_dict(info.recipe, f"the index {store.place}")
    if not localizer.features.takes(recipe):
        raise ConfigError(
            f"the index {store.place} is of features of {recipe}, but {localizer.source} was trained on "
            f"{localizer.recipe}, which differs in {recipe.differences(localizer.recipe)}: build the index again"
        )
