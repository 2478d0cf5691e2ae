"""A model as a checkpoint holds it: the network with its weights, its tokenizer, and all that is known of it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from yacs.config import CfgNode

from mmn.config import load_config, load_config_text, override_config, validate
from mmn.config.defaults import CHOICES
from mmn.config.validate import input_sizes
from mmn.data.glove import KEY as GLOVE_KEY
from mmn.data.tokenizer import PRETRAINED_KEY as TEXT_ENCODER_KEY
from mmn.data.tokenizer import QueryTokenizer
from mmn.engine.feature_recipes import checkpoint_recipe
from mmn.engine.own_text_encoder import options_of_content
from mmn.engine.tasks import find_task
from mmn.modeling.dual_encoder import DualEncoder
from mmn.modeling.mmn import MMN
from mmn.structures.recipe import FeatureRecipe, TracksRecipe
from mmn.utils.checkpoint import find_checkpoint, load_checkpoint, load_weights
from mmn.utils.errors import CheckpointError, ConfigError
from mmn.utils.model_folder import ORIGIN

TEXT_KEYS = {TEXT_ENCODER_KEY: "FOLDER", GLOVE_KEY: "FILE"}  # where what reads sentences lies, and what that is


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A network with everything that is known of it.

    Attributes:
        cfg: its config, frozen.
        model, tokenizer: the network, and the tokenizer of its text encoder.
        source: its origin, for messages.
        path: its file or folder, its name on the hub, or an address of `mmn.apps.localize.zero_shot`; "" where it has none.
        tracks: the feature tracks that it was trained on; None where they are not known.
        train_durations: lengths of the videos that it was trained on, in seconds, see
            `mmn.data.dataset.summarise_durations`; likewise.
        calibration: meaning of its scores, as `mmn.apps.search.confidence.Calibration.to_dict` gives it; likewise.
        metrics: content of the metrics file of its test (`mmn.evaluation.metrics_file`); likewise.
        origin: where it comes from, the entries of `mmn.utils.model_folder.ORIGIN` that are known.
        any_sampling: whether features of the recipe's network do at any rate and length of clips.
    """

    cfg: CfgNode
    model: MMN | DualEncoder = field(repr=False)
    tokenizer: QueryTokenizer = field(repr=False)
    source: str
    path: str = ""
    tracks: TracksRecipe | None = None
    train_durations: Mapping[str, float] | None = None
    calibration: Mapping[str, object] | None = None
    metrics: Mapping[str, object] | None = None
    origin: Mapping[str, object] = field(default_factory=dict)
    any_sampling: bool = False

    @property
    def recipe(self) -> FeatureRecipe | None:
        """Description of the features that it was trained on; None where it is not known, or there are several tracks."""
        return None if self.tracks is None else self.tracks.extraction

    @property
    def widths(self) -> list[int]:
        """D of each feature track."""
        return (self.tracks.widths if self.tracks is not None else []) or input_sizes(self.cfg)

    def content(self) -> dict[str, object]:
        """The content of a checkpoint that holds this model, as `mmn.utils.checkpoint.load_checkpoint` gives it."""
        return {
            "model": self.model.state_dict(),
            "config": self.cfg.dump(),
            "train_durations": self.train_durations,
            "feature_recipe": None if self.tracks is None else self.tracks.to_dict(),
            "calibration": self.calibration,
            "metrics": self.metrics,
            **self.origin,
        }


def read_checkpoint(
    path: str | os.PathLike,
    config: str | os.PathLike | CfgNode | None = None,
    options: Sequence[object] = (),
    **hub_options,
) -> TrainedModel:
    """The model of a checkpoint; arguments and errors as in `MomentLocalizer.from_checkpoint`.

    Args:
        hub_options: see `mmn.utils.checkpoint.find_checkpoint`.
    """
    place, path = find_checkpoint(os.fspath(path), **hub_options)
    content = load_checkpoint(place)
    cfg = checkpoint_config(content, path, config, options)
    tokenizer, model = _untrained_parts(cfg, path)
    weights = find_task(cfg).rename_weights(cfg, content["model"], path)
    load_weights(model, weights, path, remedy="give the config it was trained with")
    source = f"the checkpoint {path}"
    tracks = checkpoint_recipe(content, source)
    origin = {name: content[name] for name in ORIGIN if name in content}
    known = *(content.get(name) for name in ("train_durations", "calibration", "metrics")), origin
    return TrainedModel(cfg, model, tokenizer, source, path, tracks, *known)


def checkpoint_config(
    content: Mapping, path: str, config: str | os.PathLike | CfgNode | None, options: Sequence[object]
) -> CfgNode:
    """The config of a checkpoint, frozen. MODEL.DEVICE is that of `options` alone: training may have been elsewhere.

    Args:
        content: the checkpoint's.
        path: its file, for messages.
        config, options: see `MomentLocalizer.from_checkpoint`.
    Raises CheckpointError where the checkpoint has no config and none is given.
    """
    options = [option if isinstance(option, str) else repr(option) for option in options]
    options = ["MODEL.DEVICE", "auto", *options_of_content(content), *options]
    architecture = content.get("architecture", "MMN")
    if architecture not in CHOICES["MODEL.ARCHITECTURE"]:
        raise CheckpointError(
            f"the model {path} is of the architecture {architecture}, which this version of the package does not know: "
            "upgrade it"
        )
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
    """Tokenizer and network of a checkpoint's config, without its weights. Raises ConfigError where they cannot be made."""
    validate(cfg, training=False)
    try:
        task = find_task(cfg)
        if task.finds_moments and task.has_training:
            return task.build_tokenizer(cfg), task.build_model(cfg, False)
    except ConfigError as error:
        key = next((key for key in TEXT_KEYS if key in str(error)), None)
        if key is None:
            raise
        raise ConfigError(
            f"the text encoder of the checkpoint {path} cannot be loaded: {error} (in Python by "
            f"options=['{key}', {TEXT_KEYS[key]}])"
        ) from error
    raise ConfigError(
        f"the checkpoint {path} is of MODEL.ARCHITECTURE {cfg.MODEL.ARCHITECTURE!r}, which does not find moments of whole "
        "videos: test it by `mmn test`"
    )
