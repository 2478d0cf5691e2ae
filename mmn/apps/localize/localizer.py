"""Finding moments in videos with a trained model: the Python API.

    from mmn import MomentLocalizer

    localizer = MomentLocalizer.from_checkpoint("pool_model_best.pth")
    for result in localizer.localize("video.mp4", ["a person opens a door"], top_k=5):
        for moment in result.moments:
            print(moment.start, moment.end, moment.score)

A video that is asked more than once is encoded once: `video = localizer.encode_video("video.mp4")`, then
`localizer.localize(video, queries)` as often as wanted. Shapes: see the legend in `mmn.modeling`; W counts windows.
"""

import math
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.video.decode import Frame, probe
from mmn.config import load_config, load_config_text, override_config, validate
from mmn.data.annotations import LONGEST, SHORTEST
from mmn.data.collate import Collator
from mmn.data.features import checked_rows, resample_clips
from mmn.data.loaders import build_tokenizer
from mmn.data.tokenizer import QueryTokenizer
from mmn.engine.feature_recipes import checkpoint_recipe
from mmn.modeling import build_model, build_proposal_cells
from mmn.modeling.mmn import MMN
from mmn.modeling.scoring import final_score, iou_score
from mmn.structures.moments import cell_moments, nms_indices
from mmn.structures.proposals import ProposalCells
from mmn.structures.query_vectors import QueryVectors
from mmn.structures.recipe import FeatureRecipe
from mmn.structures.windows import split_rows
from mmn.utils.checkpoint import load_checkpoint, load_weights
from mmn.utils.comm import resolve_device
from mmn.utils.errors import CheckpointError, ConfigError, DataError
from mmn.utils.pretrained import KEY as TEXT_ENCODER_KEY

SENTENCES_AT_ONCE = 256  # that go through the text encoder in one forward pass, where there are many


@dataclass(frozen=True)
class LocalizedMoment:
    """A moment that may be what a query describes.

    Attributes:
        start, end: seconds from the beginning of the video.
        score: what moments are ranked by, in [0, 1]: the product of both heads, unless TEST.SCORE says otherwise.
        contrastive: cosine of the contrastive head, in [-1, 1].
        iou: the IoU that the other head expects between the moment and what the query describes, in (0, 1).
    """

    start: float
    end: float
    score: float
    contrastive: float
    iou: float


@dataclass(frozen=True)
class QueryResult:
    """The moments of one query, best first."""

    query: str
    moments: tuple[LocalizedMoment, ...]


class ScoreMaps(NamedTuple):
    """The scores of all moments: row i, column j is the moment from clip i to clip j of its window, 0 where there is none.

    Attributes:
        contrastive, iou, final: [S, W, N, N] float32; see `LocalizedMoment`.
    """

    contrastive: np.ndarray
    iou: np.ndarray
    final: np.ndarray


@dataclass(frozen=True, eq=False)
class EncodedVideo:
    """A video as a model sees it, to be asked any number of queries. Made by `MomentLocalizer.encode_video`.

    Attributes:
        name: for messages and files.
        duration: seconds.
        windows: (start, end) seconds of the W windows it is searched in; a short video is one.
        moments: [W, M, 2] float32 seconds, all that can be found.
        moments_contrastive, moments_iou: [W, M, C] their unit vectors, on the device they are kept on.
    """

    name: str
    duration: float
    windows: tuple[tuple[float, float], ...]
    moments: Tensor = field(repr=False)
    moments_contrastive: Tensor = field(repr=False)
    moments_iou: Tensor = field(repr=False)
    localizer_id: str = field(repr=False)


@dataclass(frozen=True, eq=False)
class PreparedVideo:
    """A video before the network. Made by `MomentLocalizer.prepare_video`.

    Attributes:
        name, duration: as of an `EncodedVideo`.
        rows: [T0, D] float32.
        spans: (first row, one past the last) of each of its W windows.
        moments: [W, M, 2] float32 seconds, all that can be found.
    """

    name: str
    duration: float
    rows: np.ndarray = field(repr=False)
    spans: list[tuple[int, int]] = field(repr=False)
    moments: Tensor = field(repr=False)

    @property
    def windows(self) -> tuple[tuple[float, float], ...]:
        """(start, end) seconds of each window."""
        return tuple((start, end) for start, end in _window_bounds(self.spans, len(self.rows), self.duration).tolist())


class MomentLocalizer:
    """A trained model that finds moments. `from_checkpoint` makes one.

    Any number of threads may use it at once. Videos go through the network one after the other, queries side by side.

    Args:
        model: goes to `device` and stays in evaluation mode.
        tokenizer: of the model's text encoder.
        cells: of the model's proposal map.
        num_pre_clips: P.
        input_size: D.
        nms_threshold, contrastive_power: TEST.NMS_THRESH, TEST.CONTRASTIVE_SCORE_POW.
        device: where the model runs.
        batch_size: windows that go through the network at once.
        recipe: of the features that the model was trained on; None where that is not known.
        train_durations: of the videos that it was trained on, see `mmn.data.dataset.summarise_durations`; likewise.
        extractor: makes the features of video files; by default the one that `recipe` describes.
        backbone_weights: for that one, where the recipe's weights are a file.
        source: where the model is from, for messages.
        score: TEST.SCORE, what moments are ranked by.
    """

    def __init__(
        self,
        model: MMN,
        tokenizer: QueryTokenizer,
        cells: ProposalCells,
        num_pre_clips: int,
        input_size: int,
        nms_threshold: float,
        contrastive_power: float,
        device: torch.device | str = "cpu",
        batch_size: int = 16,
        recipe: FeatureRecipe | None = None,
        train_durations: Mapping[str, float] | None = None,
        extractor: FeatureExtractor | None = None,
        backbone_weights: str | None = None,
        source: str = "the model",
        score: str = "product",
    ):
        self.device = usable_device(device)
        self.model = model.to(self.device).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.cells = cells
        self.num_pre_clips = num_pre_clips
        self.input_size = input_size
        self.nms_threshold = nms_threshold
        self.contrastive_power = contrastive_power
        self.score = score
        self.batch_size = batch_size
        self.recipe = recipe
        self.train_durations = train_durations
        self.source = source
        self.collator = Collator(tokenizer.pad_id, 1 if self.device.type == "cpu" else 8, tokenizer.max_length)
        self.id = uuid.uuid4().hex
        self._backbone_weights = backbone_weights
        self._extractor: FeatureExtractor | None = None
        if extractor is not None:
            self.use_extractor(extractor)
        # The convolutions keep transformed weights that the first video makes; a tokenizer has switches that a call sets.
        self._video_lock = threading.Lock()
        self._tokenizer_lock = threading.Lock()
        self._extractor_lock = threading.Lock()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        config: str | os.PathLike | CfgNode | None = None,
        device: torch.device | str | None = None,
        options: Sequence[object] = (),
        extractor: FeatureExtractor | None = None,
        backbone_weights: str | None = None,
    ) -> "MomentLocalizer":
        """The model of a checkpoint, or of a file of tools/export_weights.py.

        Args:
            config: yaml file, or config, that the model was trained with; by default the one that the checkpoint carries.
            device: by default a GPU where there is one, else the CPU.
            options: KEY, value, KEY, value, ... over the config, e.g. where the text encoder lies on this machine.
            extractor, backbone_weights: see the class.
        Raises:
            CheckpointError: no such file, damaged, without a config, or not of this config.
            ConfigError: a config or option that cannot be, a text encoder that is not there, a device that is not there.
        """
        path = os.fspath(path)
        content = load_checkpoint(path)
        cfg = checkpoint_config(content, path, config, options)
        tokenizer, model = _untrained_parts(cfg, path)
        load_weights(model, content["model"], path, remedy="give the config it was trained with")
        return cls(
            model,
            tokenizer,
            build_proposal_cells(cfg),
            cfg.INPUT.NUM_PRE_CLIPS,
            cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE,
            cfg.TEST.NMS_THRESH,
            cfg.TEST.CONTRASTIVE_SCORE_POW,
            cfg.MODEL.DEVICE if device is None else device,
            cfg.TEST.BATCH_SIZE,
            recipe=checkpoint_recipe(content, f"the checkpoint {path}"),
            train_durations=content.get("train_durations"),
            extractor=extractor,
            backbone_weights=backbone_weights,
            source=f"the checkpoint {path}",
            score=cfg.TEST.SCORE,
        )

    @property
    def joint_space_size(self) -> int:
        """C."""
        return self.model.proposal_conv.conv1x1_iou.out_channels

    # ---- Videos ----

    def encode_video(
        self,
        video: str | os.PathLike | np.ndarray | Tensor,
        duration: float | None = None,
        window: float | None = None,
        overlap: float | None = None,
        recipe: FeatureRecipe | None = None,
        name: str | None = None,
        keep_on: torch.device | str | None = None,
        on_progress: Callable[[float, float], None] | None = None,
    ) -> EncodedVideo:
        """Everything of a video that queries need.

        A video longer than all that the model was trained on is searched in windows of the median length of those,
        each as if it were a video of its own. Where a checkpoint does not say how long they were, there is one window
        unless asked otherwise.

        Args:
            video: a video file, or its features, rows [T0, D] of any float type, evenly spread over the video.
            duration: seconds; given with features, and only then.
            window: seconds, searches the video in windows of this length; one as long as the video searches it whole.
            overlap: seconds that neighbouring windows share at least; by default half a window.
            recipe: of the features given, where it is known: another one than the model's is refused.
            name: for messages and files; by default the file's.
            keep_on: the device that the vectors stay on and that queries are matched on; by default the model's.
            on_progress: called with (seconds decoded, seconds of the video) for every frame that is read of a file.
        Raises:
            DataError: no such video, one that cannot be decoded, features that do not fit the model.
            ConfigError: windows that cannot be, a video file for a model that does not say which features it needs.
        """
        kept = None if keep_on is None else usable_device(keep_on)
        prepared = self.prepare_video(video, duration, window, overlap, recipe, name, on_progress)
        contrastive, iou = self._encode_windows(prepared, kept or self.device)
        return EncodedVideo(
            prepared.name,
            prepared.duration,
            prepared.windows,
            prepared.moments.to(contrastive.device),
            contrastive,
            iou,
            self.id,
        )

    def prepare_video(
        self,
        video: str | os.PathLike | np.ndarray | Tensor,
        duration: float | None = None,
        window: float | None = None,
        overlap: float | None = None,
        recipe: FeatureRecipe | None = None,
        name: str | None = None,
        on_progress: Callable[[float, float], None] | None = None,
    ) -> PreparedVideo:
        """All that `encode_video` does before the network; arguments and errors as there.

        Who encodes many videos prepares some ahead, and sends the windows of several through the network together:
        `window_clips`, then `encode_clips`.
        """
        _check_window(window, overlap)  # first: extracting the features may take long
        rows, duration, name = self._rows_of(video, duration, recipe, name, on_progress)
        spans = split_rows(len(rows), duration, *self._window_of(duration, window, overlap))
        bounds = _window_bounds(spans, len(rows), duration)
        lengths = (bounds[:, 1] - bounds[:, 0]).float()
        moments = cell_moments(self.cells, lengths) + bounds[:, :1, None].float()
        return PreparedVideo(name, duration, rows, spans, moments)

    def window_clips(self, video: PreparedVideo, window: int) -> np.ndarray:
        """One window as the network takes it, [P, D] float32."""
        first, last = video.spans[window]
        return resample_clips(video.rows[first:last], self.num_pre_clips)

    @torch.no_grad()
    def encode_clips(self, clips: np.ndarray) -> tuple[Tensor, Tensor]:
        """Windows [B, P, D] float32 of any videos -> unit vectors (contrastive, iou), each [B, M, C] float32."""
        feats = torch.from_numpy(clips).to(self.device)
        with self._video_lock:
            return self.model.encode_videos(feats)

    def use_extractor(self, extractor: FeatureExtractor) -> None:
        """Make the features of video files by `extractor`; DataError where the model was trained on other features."""
        self.check_recipe(extractor.recipe, "those of the extractor")
        self._extractor = extractor

    def extraction_recipe(self, path: str) -> FeatureRecipe:
        """Of the features that the video file `path` gets. Raises ConfigError where none can be made."""
        return self._get_extractor(path).recipe

    def _rows_of(
        self,
        video: object,
        duration: float | None,
        recipe: FeatureRecipe | None,
        name: str | None,
        on_progress: Callable[[float, float], None] | None,
    ) -> tuple[np.ndarray, float, str]:
        """Feature rows [T0, D] float32, seconds and name of what `encode_video` is given."""
        if isinstance(video, (str, os.PathLike)):
            if duration is not None or recipe is not None:
                raise ConfigError(
                    f"duration and recipe go with features, but {os.fspath(video)} is the path of a video: leave them out"
                )
            return *self._extract(os.fspath(video), on_progress), name or Path(video).stem
        if isinstance(video, Tensor):
            video = video.detach().cpu()
            video = (video.float() if video.is_floating_point() else video).numpy()  # NumPy has no bfloat16
        if not isinstance(video, np.ndarray):
            raise ConfigError(
                f"a video is the path of a file, or features [rows, {self.input_size}] as a NumPy array or a tensor, "
                f"not a {type(video).__name__}"
            )
        name = name or "the video"
        if duration is None:
            raise ConfigError(f"features say nothing of time: give the duration of {name} in seconds with them")
        if not isinstance(duration, Real) or not SHORTEST <= duration <= LONGEST:
            raise DataError(f"{name} has a duration of {duration} seconds: it must be a finite number above 0")
        if recipe is not None:
            self.check_recipe(recipe, f"the features of {name}")
        return checked_rows(video, self.input_size, name), float(duration), name

    def _extract(self, path: str, on_progress: Callable[[float, float], None] | None) -> tuple[np.ndarray, float]:
        """Feature rows and seconds of a video file."""
        extractor = self._get_extractor(path)
        duration = probe(path).duration
        if not SHORTEST <= duration <= LONGEST:
            raise DataError(f"{path} has a length of {duration} seconds: there is no moment to find")

        def frames() -> Iterator[Frame]:
            for frame in extractor.frames(path):
                yield frame
                if on_progress is not None:
                    on_progress(frame.time, duration)

        rows = np.concatenate(list(extractor.encode(frames(), path)))
        return checked_rows(rows, self.input_size, f"what the extractor makes of {path}"), duration

    def _get_extractor(self, path: str) -> FeatureExtractor:
        with self._extractor_lock:
            if self._extractor is None and self.recipe is None:
                raise ConfigError(
                    f"{self.source} does not say which features it was trained on, so {path} cannot be turned into "
                    "them: give the video's features, or the extractor that makes them (--features, or --backbone or "
                    "--recipe, on the command line)"
                )
            if self._extractor is None:
                self._extractor = self._recipe_extractor()
            return self._extractor

    def _recipe_extractor(self) -> FeatureExtractor:
        try:
            return FeatureExtractor.from_recipe(self.recipe, self._backbone_weights, device=self.device)
        except (ConfigError, CheckpointError) as error:
            raise ConfigError(
                f"the extractor of the features that {self.source} was trained on is not to be had: {error} "
                "(backbone_weights= in Python, --backbone-weights on the command line)"
            ) from error

    def check_recipe(self, recipe: FeatureRecipe, what: str) -> None:
        """Raise DataError where features of `recipe`, called `what`, are known to be others than the model's."""
        if self.recipe is not None and recipe != self.recipe:
            raise DataError(
                f"{self.source} was trained on features of {self.recipe}, but {what} are {recipe}, which differs in "
                f"{self.recipe.differences(recipe)}: extract them by the model's recipe"
            )

    def _window_of(self, duration: float, window: float | None, overlap: float | None) -> tuple[float, float]:
        """Seconds of a window and of the overlap of two, for a video of `duration` seconds."""
        if window is None:
            window = default_window(duration, self.train_durations)
            _check_window(window, overlap)
        if overlap is None:
            overlap = 0.0 if math.isinf(window) else window / 2
        return window, overlap

    def _encode_windows(self, video: PreparedVideo, kept: torch.device) -> tuple[Tensor, Tensor]:
        """The W windows of a video -> unit vectors (contrastive, iou), each [W, M, C] on `kept`."""
        parts = []
        for start in range(0, len(video.spans), self.batch_size):
            numbers = range(start, min(start + self.batch_size, len(video.spans)))
            clips = np.stack([self.window_clips(video, number) for number in numbers])
            parts.append([vector.to(kept) for vector in self.encode_clips(clips)])
        contrastive, iou = (torch.cat(vectors) for vectors in zip(*parts, strict=True))
        return contrastive, iou

    # ---- Queries ----

    def localize(
        self,
        video: EncodedVideo | str | os.PathLike | np.ndarray | Tensor,
        queries: str | Sequence[str],
        top_k: int = 5,
        **encoding,
    ) -> list[QueryResult]:
        """The best moments of each query, as evaluation ranks them; those of all windows compete in one suppression.

        Args:
            video: encoded, or what `encode_video` takes.
            queries: S sentences, encoded together in one forward pass, equal ones once; a text is one sentence.
            top_k: moments per query at most; overlapping ones are suppressed, so there may be fewer.
            encoding: further arguments of `encode_video`, for a video that is not encoded.
        Returns:
            S results, in the order of the queries.
        Raises:
            ConfigError: a query that is empty or no text, top_k below 1, and what `encode_video` raises.
        """
        check_top_k(top_k)
        queries, distinct = checked_queries(queries)
        video = self._encoded(video, encoding)
        contrastive, iou = self._scores(video, distinct)
        scores = final_score(contrastive, iou, self.contrastive_power, self.score)
        moments = video.moments.flatten(0, 1)
        top_k = min(top_k, len(moments))
        kept, kept_scores = nms_indices(moments.expand(len(distinct), -1, -1), scores, self.nms_threshold, top_k)
        columns = [moments[kept], kept_scores, contrastive.gather(1, kept), iou.gather(1, kept)]
        rows = zip(distinct, *(column.tolist() for column in columns), strict=True)
        results = {query: QueryResult(query, _moments_of(*values)) for query, *values in rows}
        return [results[query] for query in queries]

    def score_maps(
        self,
        video: EncodedVideo | str | os.PathLike | np.ndarray | Tensor,
        queries: str | Sequence[str],
        **encoding,
    ) -> ScoreMaps:
        """The scores of all moments of all windows, as 2D maps. Arguments and errors as in `localize`."""
        queries, distinct = checked_queries(queries)
        video = self._encoded(video, encoding)
        contrastive, iou = self._scores(video, distinct)
        rows = [distinct.index(query) for query in queries]
        packed = (contrastive, iou, final_score(contrastive, iou, self.contrastive_power, self.score))
        shape = (len(video.windows), len(self.cells))
        return ScoreMaps(*(self.cells.to_map(part[rows].unflatten(1, shape)).cpu().numpy() for part in packed))

    def _encoded(self, video: object, encoding: dict) -> EncodedVideo:
        if not isinstance(video, EncodedVideo):
            return self.encode_video(video, **encoding)
        if encoding:
            raise ConfigError(f"{video.name} is encoded already: give {', '.join(encoding)} to encode_video")
        if video.localizer_id != self.id:
            raise ConfigError(f"{video.name} was encoded by another model: encode it by the one that is asked")
        return video

    def encode_queries(self, queries: str | Sequence[str]) -> QueryVectors:
        """The vectors of S sentences in the two joint spaces, to be compared with moments of any number of videos.

        Equal sentences are encoded once. Raises ConfigError where a query is empty or no text.
        """
        queries, distinct = checked_queries(queries)
        parts = [
            self._encode_sentences(distinct[start : start + SENTENCES_AT_ONCE])
            for start in range(0, len(distinct), SENTENCES_AT_ONCE)
        ]
        number_of = {query: number for number, query in enumerate(distinct)}
        rows = [number_of[query] for query in queries]
        return QueryVectors(*(torch.cat(vectors)[rows].float().cpu().numpy() for vectors in zip(*parts, strict=True)))

    @torch.no_grad()
    def _encode_sentences(self, queries: list[str]) -> tuple[Tensor, Tensor]:
        """U different queries -> unit vectors (contrastive, iou), each [U, C], in one forward pass."""
        with self._tokenizer_lock:
            tokens = self.tokenizer(queries)
        tokens, token_mask, token_rows = self.collator.pad_tokens(tokens)
        sentences = self.model.encode_sentences(tokens.to(self.device), token_mask.to(self.device))
        contrastive, iou = (rows[token_rows.to(rows.device)] for rows in sentences)
        return contrastive, iou

    def _scores(self, video: EncodedVideo, queries: list[str]) -> tuple[Tensor, Tensor]:
        """Scores (contrastive, iou) of U different queries with all moments of all windows, each [U, W * M]."""
        moments = (video.moments_contrastive, video.moments_iou)
        contrastive, iou = (
            rows.to(vectors.device) @ vectors.flatten(0, 1).mT
            for rows, vectors in zip(self._encode_sentences(queries), moments, strict=True)
        )
        return contrastive, iou_score(iou)


def default_window(duration: float, train_durations: Mapping[str, float] | None) -> float:
    """Seconds of a window for a video of `duration` seconds, unless asked otherwise.

    A video that is no longer than the longest one trained on is one window, as in training and evaluation. A longer one
    is searched in windows of the training videos' median length, so that the clips of a window last as long as those that
    the model mostly saw.

    >>> default_window(100.0, {"median": 50.0, "longest": 90.0}), default_window(80.0, {"median": 50.0, "longest": 90.0})
    (50.0, 80.0)
    """
    if train_durations is None or duration <= train_durations["longest"]:
        return duration
    return train_durations["median"]


def _window_bounds(spans: Sequence[tuple[int, int]], num_rows: int, duration: float) -> Tensor:
    """[W, 2] float64 seconds of windows that are given by their rows."""
    return torch.tensor(spans, dtype=torch.float64) / num_rows * duration


def _check_window(window: float | None, overlap: float | None) -> None:
    """Raise ConfigError where one of them cannot be, or not with the other; None is what is not asked for."""
    if window is not None and not window > 0:
        raise ConfigError(f"the window is {window} seconds: it must be a number above 0")
    if overlap is not None and not 0 <= overlap < (math.inf if window is None else window):
        least = "" if window is None else f" in windows of {window:g}"
        raise ConfigError(f"the overlap is {overlap} seconds{least}: it must be at least 0 and less than a window")


def checkpoint_config(
    content: Mapping, path: str, config: str | os.PathLike | CfgNode | None, options: Sequence[object]
) -> CfgNode:
    """The config of a checkpoint, frozen. MODEL.DEVICE is that of `options` alone: training may have been elsewhere."""
    options = ["MODEL.DEVICE", "auto", *(option if isinstance(option, str) else repr(option) for option in options)]
    if isinstance(config, CfgNode):
        return override_config(config, options)
    if config is not None:
        return load_config(os.fspath(config), options)
    if not isinstance(content.get("config"), str):
        raise CheckpointError(
            f"the checkpoint {path} does not carry its config, as older ones do not: give the yaml file it was trained "
            "with (config= in Python, --config-file on the command line)"
        )
    return load_config_text(content["config"], f"the config in {path}", options)


def _untrained_parts(cfg: CfgNode, path: str) -> tuple[QueryTokenizer, MMN]:
    """Tokenizer and network of a checkpoint's config, without its weights. Raises ConfigError where they cannot be had."""
    validate(cfg, training=False)
    if cfg.MODEL.ARCHITECTURE != "MMN":
        raise ConfigError(
            f"the checkpoint {path} is of MODEL.ARCHITECTURE {cfg.MODEL.ARCHITECTURE!r}: only 'MMN' finds moments of "
            "whole videos, others are tested by tools/test_net.py"
        )
    try:
        return build_tokenizer(cfg), build_model(cfg, pretrained_text=False)
    except ConfigError as error:
        if TEXT_ENCODER_KEY not in str(error):
            raise
        raise ConfigError(
            f"the text encoder of the checkpoint {path} is not to be had: {error} (in Python by "
            f"options=['{TEXT_ENCODER_KEY}', FOLDER])"
        ) from error


def usable_device(name: torch.device | str) -> torch.device:
    """The device of that name. Raises ConfigError where this machine has none."""
    device = resolve_device(name) if isinstance(name, str) else name
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"the device {str(name)!r} cannot be used on this machine: take auto or cpu") from error
    return device


def check_top_k(top_k: int) -> None:
    """Raise ConfigError where it is no number of moments."""
    if not isinstance(top_k, Integral) or top_k < 1:
        raise ConfigError(f"top_k is {top_k}: it must be a whole number of at least 1")


def checked_queries(queries: object) -> tuple[list[str], list[str]]:
    """The queries as a list, and the different ones among them in order of appearance.

    Raises ConfigError where there is none, or one is no text or empty.
    """
    if isinstance(queries, str):
        queries = [queries]
    if not isinstance(queries, Sequence) or not queries:
        raise ConfigError(f"the queries are {queries!r}: give a list of at least one sentence")
    for number, query in enumerate(queries, start=1):
        if not isinstance(query, str) or not query.strip():
            raise ConfigError(f"query {number} of {len(queries)} is {query!r}: it must be a text that is not empty")
        if any("\ud800" <= character <= "\udfff" for character in query):  # halves of characters, which json can spell
            raise ConfigError(f"query {number} of {len(queries)} is {query!r}, which is no valid Unicode: correct it")
    return list(queries), list(dict.fromkeys(queries))


def _moments_of(
    moments: list[list[float]], scores: list[float], contrastive: list[float], iou: list[float]
) -> tuple[LocalizedMoment, ...]:
    """One query's kept moments; scores of 0 are places that were left empty."""
    columns = zip(moments, scores, contrastive, iou, strict=True)
    return tuple(LocalizedMoment(*moment, *values) for moment, *values in columns if values[0] > 0)
