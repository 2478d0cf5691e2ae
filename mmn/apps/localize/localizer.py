"""Finding moments in videos with a trained model: the Python API.

    from mmn import MomentLocalizer

    localizer = MomentLocalizer.from_checkpoint("pool_model_best.pth")
    for result in localizer.localize("video.mp4", ["a person opens a door"], top_k=5):
        for moment in result.moments:
            print(moment.start, moment.end, moment.score)

A video that is asked more than once is encoded once: `video = localizer.encode_video("video.mp4")`, then
`localizer.localize(video, queries)` as often as wanted. Shapes: see the legend in `mmn.modeling`; W counts windows.
"""

import copy
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.extraction.video_parts import PART_SECONDS
from mmn.apps.localize.encode_in_parts import PartwiseEncoding
from mmn.apps.localize.encoded_video import EncodedVideo, PreparedVideo, cut_video
from mmn.apps.localize.feature_source import FeatureSource, GivenVideo, Progress, VideoInput
from mmn.apps.localize.find_then_ground import across_windows, find_then_ground, finder_cells
from mmn.apps.localize.moment_encoder import MomentEncoder, build_moment_encoder, usable_device
from mmn.apps.localize.query_checks import check_top_k, checked_queries
from mmn.apps.localize.results import QueryResult, ScoreMaps
from mmn.apps.localize.scoring_rule import MomentScores, ScoringRule, build_scoring_rule
from mmn.apps.localize.search_windows import check_window, place_windows, window_lengths
from mmn.apps.localize.trained_model import TrainedModel, read_checkpoint
from mmn.apps.localize.zero_shot import DEFAULT_DUAL_ENCODER, FPS, name_in_address, read_dual_encoder
from mmn.apps.publish.save import push_model, save_model
from mmn.data.tokenizer import QueryTokenizer
from mmn.modeling.dual_encoder import DualEncoder
from mmn.modeling.match_rules import MATCH_RULES
from mmn.modeling.mmn import MMN
from mmn.structures.proposals import ProposalCells
from mmn.structures.query_vectors import QueryVectors
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import ConfigError, unknown_choice

SENTENCES_AT_ONCE = 256  # that go through the text encoder in one forward pass, where there are many


class MomentLocalizer:
    """A model that finds moments. `from_checkpoint` and `zero_shot` make one.

    Any number of threads may use it at once. Videos go through the network one after the other, queries side by side.

    Args:
        encoder: gives moments and sentences their vectors.
        features: gives videos their feature rows.
        rule: scores the moments of a video and chooses the best ones.
        train_durations: lengths of the videos that the model was trained on, in seconds, see
            `mmn.data.dataset.summarise_durations`; None where they are not known.
        source: the model's origin, for messages.
        path: its file or folder, its name on the hub, or the address of a dual encoder; "" where it is from none.
        trained: all that is known of the model, for handing it on; None where it was not trained here.
    """

    def __init__(
        self,
        encoder: MomentEncoder,
        features: FeatureSource,
        rule: ScoringRule,
        train_durations: Mapping[str, float] | None = None,
        source: str = "the model",
        path: str = "",
        trained: TrainedModel | None = None,
    ):
        self.encoder = encoder
        self.features = features
        self.rule = rule
        self.train_durations = train_durations
        self.source = source
        self.path = path
        self.trained = trained
        self.id = uuid.uuid4().hex

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
        """The model of a checkpoint, of a model folder, or of a name on the Hugging Face hub.

        Args:
            path: a file, a folder, or `user/model`, with `@revision` or without; or "zero-shot:NAME", see `zero_shot`, with
                which only device and options go.
            config: yaml file, or config, that the model was trained with; by default the one that the checkpoint carries.
            device: place of the model; by default a GPU where there is one, else the CPU.
            options: KEY, value, KEY, value, ... over the config, e.g. where the text encoder lies on this machine.
            extractor, backbone_weights: see `FeatureSource`.
        Raises:
            CheckpointError: no such file, damaged, without a config, or not of this config.
            ConfigError: a config or option that cannot be, a text encoder that is not there, a device that is not there.
        """
        name = name_in_address(path)
        if name is None:
            return cls.from_trained(read_checkpoint(path, config, options), device, extractor, backbone_weights)
        if config is not None or extractor is not None or backbone_weights is not None:
            raise ConfigError(
                f"the dual encoder {name} makes its features itself: leave out config, extractor and backbone_weights "
                "(--config-file, --backbone, --recipe and --backbone-weights on the command line)"
            )
        return cls.zero_shot(name, device, options)

    @classmethod
    def zero_shot(
        cls,
        name: str | os.PathLike = DEFAULT_DUAL_ENCODER,
        device: torch.device | str | None = None,
        options: Sequence[object] = (),
        fps: float = FPS,
    ) -> "MomentLocalizer":
        """A dual encoder of images and text in the place of a trained model: it was never trained to find moments.

        Args:
            name: any model of transformers with `get_image_features` and `get_text_features` (CLIP, SigLIP, ...), by its
                name on the hub or its folder; or "conse", which is composed of packages and needs no hub.
            device: as in `from_checkpoint`.
            options: KEY, value, ... over configs/zero_shot.yaml, e.g. TEST.CONTRASTIVE_RULE.
            fps: frames per second that a video file is sampled at.
        Raises:
            ConfigError: a model that cannot be had, is no dual encoder, or a device that is not there.
            UserError: a package of "conse" that is not installed.
        """
        trained, extractor = read_dual_encoder(os.fspath(name), device, options, fps)
        return cls.from_trained(trained, extractor.device, extractor)

    @classmethod
    def from_trained(
        cls,
        trained: TrainedModel,
        device: torch.device | str | None = None,
        extractor: FeatureExtractor | None = None,
        backbone_weights: str | None = None,
    ) -> "MomentLocalizer":
        """The localizer of a model, wherever it was read from; arguments and errors as in `from_checkpoint`."""
        cfg, source = trained.cfg, trained.source
        encoder = build_moment_encoder(cfg, trained.model, trained.tokenizer, device, trained.widths)
        features = FeatureSource(
            sum(encoder.widths),
            trained.recipe,
            extractor,
            backbone_weights,
            encoder.device,
            source,
            trained.any_sampling,
        )
        rule = build_scoring_rule(cfg)
        return cls(encoder, features, rule, trained.train_durations, source, trained.path, trained)

    def with_rule(self, name: str) -> "MomentLocalizer":
        """A localizer of the same model whose contrastive score is made by another TEST.CONTRASTIVE_RULE.

        Either searches the videos that the other has encoded. Raises ConfigError for a name that is no rule.
        """
        if name not in MATCH_RULES:
            raise unknown_choice("TEST.CONTRASTIVE_RULE", name, MATCH_RULES)
        other = copy.copy(self)
        other.rule = replace(self.rule, match=name)
        return other

    # ---- Handing it on ----

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        endpoint: str | None = None,
        **options,
    ) -> "MomentLocalizer":
        """The model of a name on the Hugging Face hub, or of a folder that `save_pretrained` has written.

        Only weights and texts are fetched, and no code is run. Without a network the cache is asked.

        Args:
            pretrained_model_name_or_path: `user/model`, or whatever `from_checkpoint` takes.
            revision: a branch, tag or commit.
            cache_dir, force_download, local_files_only, token, endpoint: as huggingface_hub takes them.
            options: further arguments of `from_checkpoint`.
        Raises:
            CheckpointError: no such model, one that was changed or is incomplete, of a newer format, or of another kind.
            ConfigError: as `from_checkpoint`; and for a dual encoder, which transformers fetches, an argument of the hub.
        """
        hub = {
            "revision": revision,
            "cache_dir": cache_dir,
            "force_download": force_download,
            "local_files_only": local_files_only,
            "token": token,
            "endpoint": endpoint,
        }
        if (name := name_in_address(pretrained_model_name_or_path)) is not None:
            if given := [argument for argument, value in hub.items() if value]:
                raise ConfigError(f"the dual encoder {name} is fetched by transformers: leave out {', '.join(given)}")
            return cls.from_checkpoint(pretrained_model_name_or_path, **options)
        config, overriding = options.pop("config", None), options.pop("options", ())
        return cls.from_trained(read_checkpoint(pretrained_model_name_or_path, config, overriding, **hub), **options)

    def save_pretrained(
        self, save_directory: str | os.PathLike, *, repo_id: str | None = None, push_to_hub: bool = False, **hub_options
    ) -> str | None:
        """Write the model as a folder that opens on any machine, see `mmn.utils.model_folder`.

        Args:
            push_to_hub: also upload it, to `repo_id`, by default the folder's name; `hub_options` as `push_to_hub` takes.
        Returns:
            the address of the commit where it was uploaded.
        Raises UserError where the folder cannot be written, and ConfigError for a model that was not trained.
        """
        save_model(save_directory, *self._kept())
        repo = repo_id or os.path.basename(os.path.abspath(save_directory))
        return self.push_to_hub(repo, **hub_options) if push_to_hub else None

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "A model of mmn",
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        endpoint: str | None = None,
    ) -> str:
        """Upload the model to `user/model` on the Hugging Face hub -> the address of the commit.

        Args:
            private: whether a new repository is; None as the account's default says.
            token, branch, create_pr, endpoint: as huggingface_hub takes them.
        Raises CheckpointError where the hub refuses, and ConfigError for a model that was not trained.
        """
        cfg, content = self._kept()
        hub = {"private": private, "token": token, "branch": branch, "create_pr": create_pr, "endpoint": endpoint}
        return push_model(repo_id, cfg, content, commit_message, **hub)

    def _kept(self) -> tuple[CfgNode, dict[str, object]]:
        """Config and content of what is handed on."""
        if self.trained is None or name_in_address(self.path) is not None:
            raise ConfigError(
                f"{self.source} was not trained here, so there is nothing to save: name it where it is used"
            )
        return self.trained.cfg, self.trained.content()

    # ---- What it is made of ----

    @property
    def cfg(self) -> CfgNode:
        """The model's config. Raises ConfigError where it is not known."""
        if self.trained is None:
            raise ConfigError(f"{self.source} does not carry its config: load it from a checkpoint")
        return self.trained.cfg

    @property
    def model(self) -> MMN | DualEncoder:
        """The network, in evaluation mode."""
        return self.encoder.model

    @property
    def tokenizer(self) -> QueryTokenizer:
        """The tokenizer of the model's text encoder."""
        return self.encoder.tokenizer

    @property
    def cells(self) -> ProposalCells:
        """The model's proposal map."""
        return self.encoder.cells

    @property
    def device(self) -> torch.device:
        """The device that the model runs on."""
        return self.encoder.device

    @property
    def batch_size(self) -> int:
        """Windows that go through the network at once."""
        return self.encoder.batch_size

    @property
    def num_pre_clips(self) -> int:
        """P."""
        return self.encoder.num_pre_clips

    @property
    def joint_space_size(self) -> int:
        """C."""
        return self.encoder.joint_space_size

    @property
    def input_size(self) -> int:
        """D."""
        return self.features.input_size

    @property
    def recipe(self) -> FeatureRecipe | None:
        """The recipe of the features that the model was trained on; None where it is not known."""
        return self.features.recipe

    @property
    def calibration(self) -> Mapping[str, object] | None:
        """Meaning of the model's scores, as `mmn.apps.search.confidence.Calibration` has it; None where not known."""
        return None if self.trained is None else self.trained.calibration

    @property
    def nms_threshold(self) -> float:
        """TEST.NMS_THRESH."""
        return self.rule.nms_threshold

    @property
    def contrastive_power(self) -> float:
        """TEST.CONTRASTIVE_SCORE_POW."""
        return self.rule.contrastive_power

    # ---- Videos ----

    def encode_video(
        self,
        video: VideoInput,
        duration: float | None = None,
        window: float | None = None,
        overlap: float | None = None,
        recipe: FeatureRecipe | None = None,
        name: str | None = None,
        keep_on: torch.device | str | None = None,
        on_progress: Progress | None = None,
        cache: str | os.PathLike | None = None,
    ) -> EncodedVideo:
        """Everything of a video that queries need.

        A video longer than all that the model was trained on is searched in windows of several lengths about the median
        of those, each as if it were a video of its own. Where a checkpoint does not say how long they were, there is one
        window unless asked otherwise.

        Args:
            video: a video file, or its features, rows [T0, D] of any float type, evenly spread over the video.
            duration: seconds; given with features, and only then.
            window: seconds, searches the video in windows of this length; one as long as the video searches it whole.
            overlap: seconds that neighbouring windows share at least; by default half a window.
            recipe: description of the given features, where it is known: another one than the model's is refused.
            name: the video's, for messages and files; by default the file's.
            keep_on: the device that the vectors stay on and that queries are matched on; by default the model's, or of a
                video of more than PART_SECONDS, files, from which queries are matched on the CPU.
            on_progress: called with (seconds decoded, seconds of the video) for every frame that is read of a file.
            cache: a folder for these files, of any number of videos: an encoding that is stopped goes on there, and one
                that is done is loaded, on the CPU whatever the length. By default they go with the result.
        Raises:
            DataError: no such video, one that cannot be decoded, features that do not fit the model.
            ConfigError: windows that cannot be, a video file for a model that does not say which features it needs.
        """
        check_window(window, overlap)  # first: extracting the features may take long
        given = self.features.look_at(video, duration, recipe, name)
        if cache is not None or (keep_on is None and given.duration > PART_SECONDS):
            lengths = window_lengths(given.duration, window, overlap, self.train_durations)
            place = None if cache is None else os.fspath(cache)
            steps = PartwiseEncoding(self.encoder, self.features, self.id)
            return steps.encode(given, lengths, overlap, place, on_progress)
        device = self.device if keep_on is None else usable_device(keep_on)
        prepared = self._prepare(given, window, overlap, on_progress)
        windows = [prepared.rows[first:last] for first, last in prepared.spans]
        contrastive, iou = self.encoder.encode_windows(windows, device)
        moments = prepared.moments.to(contrastive.device)
        is_found = len(windows) > 1 and not self.rule.joins_windows
        finder = contrastive[:, finder_cells(self.cells).to(device)] if is_found else contrastive
        return EncodedVideo(
            prepared.name, prepared.duration, prepared.windows, moments, contrastive, iou, finder, self.id
        )

    def prepare_video(
        self,
        video: VideoInput,
        duration: float | None = None,
        window: float | None = None,
        overlap: float | None = None,
        recipe: FeatureRecipe | None = None,
        name: str | None = None,
        on_progress: Progress | None = None,
    ) -> PreparedVideo:
        """Do all that `encode_video` does before the network; arguments and errors as there.

        Who encodes many videos prepares some ahead, and sends the windows of several through the network together:
        `window_clips`, then `encode_clips`.
        """
        check_window(window, overlap)  # first: extracting the features may take long
        return self._prepare(self.features.look_at(video, duration, recipe, name), window, overlap, on_progress)

    def _prepare(
        self, video: GivenVideo, window: float | None, overlap: float | None, on_progress: Progress | None
    ) -> PreparedVideo:
        lengths = window_lengths(video.duration, window, overlap, self.train_durations)
        rows = self.features.rows(video, on_progress)
        spans = place_windows(len(rows), video.duration, lengths, overlap)
        return cut_video(video.name, video.duration, rows, spans, self.cells)

    def window_clips(self, video: PreparedVideo, window: int) -> np.ndarray:
        """One window as the network takes it, [P, D] float32."""
        first, last = video.spans[window]
        return self.encoder.resample(video.rows[first:last])

    def encode_clips(self, clips: np.ndarray) -> tuple[Tensor, Tensor]:
        """Windows [B, P, D] float32 of any videos -> unit vectors (contrastive, iou), each [B, M, C] float32."""
        return self.encoder.encode_clips(clips)

    def use_extractor(self, extractor: FeatureExtractor) -> None:
        """Make the features of video files by `extractor`; DataError where the model was trained on other features."""
        self.features.use_extractor(extractor)

    def extraction_recipe(self, path: str) -> FeatureRecipe:
        """The recipe of the features that the video file `path` gets. Raises ConfigError where none can be made."""
        return self.features.recipe_for(path)

    def check_recipe(self, recipe: FeatureRecipe, what: str) -> None:
        """Raise DataError where features of `recipe`, called `what`, are known to be others than the model's."""
        self.features.check_recipe(recipe, what)

    # ---- Queries ----

    def localize(
        self, video: EncodedVideo | VideoInput, queries: str | Sequence[str], top_k: int = 5, **encoding
    ) -> list[QueryResult]:
        """The best moments of each query: in a video of one window as evaluation ranks them, in a longer one by
        `mmn.apps.localize.find_then_ground`.

        Args:
            video: an encoded video, or what `encode_video` takes.
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
        if len(video.windows) == 1 or self.rule.joins_windows:
            found = self.rule.best_moments(video.moments, self._scores(video, distinct), top_k)
        else:
            search = find_then_ground(self.rule, self.cells)
            found = search.best_moments(video, *self.encoder.encode_sentences(distinct), top_k)
        results = {query: QueryResult(query, moments) for query, moments in zip(distinct, found, strict=True)}
        return [results[query] for query in queries]

    def score_maps(self, video: EncodedVideo | VideoInput, queries: str | Sequence[str], **encoding) -> ScoreMaps:
        """The scores of all moments of all windows, as 2D maps. Arguments and errors as in `localize`."""
        queries, distinct = checked_queries(queries)
        video = self._encoded(video, encoding)
        rows = [distinct.index(query) for query in queries]
        scores = self._scores(video, distinct)
        return ScoreMaps(*(part if part is None else self.cells.to_map(part[rows]).cpu().numpy() for part in scores))

    def encode_queries(self, queries: str | Sequence[str]) -> QueryVectors:
        """The vectors of S sentences in the two joint spaces, to be compared with moments of any number of videos.

        Equal sentences are encoded once. Raises ConfigError where a query is empty or no text.
        """
        queries, distinct = checked_queries(queries)
        parts = [
            self.encoder.encode_sentences(distinct[start : start + SENTENCES_AT_ONCE])
            for start in range(0, len(distinct), SENTENCES_AT_ONCE)
        ]
        number_of = {query: number for number, query in enumerate(distinct)}
        rows = [number_of[query] for query in queries]
        return QueryVectors(*(torch.cat(vectors)[rows].float().cpu().numpy() for vectors in zip(*parts, strict=True)))

    def _encoded(self, video: EncodedVideo | VideoInput, encoding: Mapping[str, object]) -> EncodedVideo:
        if not isinstance(video, EncodedVideo):
            return self.encode_video(video, **encoding)
        if encoding:
            raise ConfigError(f"{video.name} is encoded already: give {', '.join(encoding)} to encode_video")
        if video.localizer_id != self.id:
            raise ConfigError(f"{video.name} was encoded by another model: encode it by the one that is asked")
        return video

    def _scores(self, video: EncodedVideo, queries: list[str]) -> MomentScores:
        """The scores of all moments of all windows for U different queries."""
        rule = self.rule if len(video.windows) == 1 else across_windows(self.rule)
        vectors = video.moments_contrastive, video.moments_iou
        return rule.score_moments(*self.encoder.match(vectors, queries, video.let_go), cells=self.cells)
