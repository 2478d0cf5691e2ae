"""A config, a batch and a network of the package as the arguments that `mmn.reference` takes."""

import functools

from torch import Tensor, nn
from yacs.config import CfgNode

from mmn.config import get_cfg
from mmn.reference import Settings, Video
from mmn.structures.batch import GroundingBatch
from mmn.utils.errors import ConfigError

# Keys of which the reference knows one value, the default.
FIXED = (
    "MODEL.ARCHITECTURE",
    "MODEL.MMN.SHARED_HEADS",
    "MODEL.MMN.DUAL_START",
    "MODEL.MMN.FEAT2D.NAME",
    "MODEL.MMN.TEXT_ENCODER.POOLING",
    "MODEL.MMN.PREDICTOR.BATCH_NORM",
    "MODEL.MMN.LOSS.MASKED_NEGATIVES",
    "MODEL.MMN.LOSS.MEMORY_BANK",
    "MODEL.MMN.LOSS.NEGATIVES",
    "TEST.SCORE",
    "TEST.CONTRASTIVE_RULE",
)


def reference_settings(cfg: CfgNode) -> Settings:
    """The hyper-parameters of a config. Raises ConfigError where it asks for what the reference does not know."""
    for key in FIXED:
        wanted, known = (functools.reduce(getattr, key.split("."), config) for config in (cfg, get_cfg()))
        if wanted != known:
            raise ConfigError(f"{key} is {wanted!r}, but the plain form knows {known!r} alone: leave the key at it")
    mmn, loss = cfg.MODEL.MMN, cfg.MODEL.MMN.LOSS
    return Settings(
        num_pre_clips=cfg.INPUT.NUM_PRE_CLIPS,
        num_clips=mmn.NUM_CLIPS,
        featpool_kernel_size=mmn.FEATPOOL.KERNEL_SIZE,
        pooling_counts=tuple(mmn.FEAT2D.POOLING_COUNTS),
        num_stack_layers=mmn.PREDICTOR.NUM_STACK_LAYERS,
        min_iou=loss.MIN_IOU,
        max_iou=loss.MAX_IOU,
        num_positives=loss.NUM_POSTIVE_VIDEO_PROPOSAL,
        negative_video_iou=loss.NEGATIVE_VIDEO_IOU,
        sent_removal_iou=loss.SENT_REMOVAL_IOU,
        tau_video=loss.TAU_VIDEO,
        tau_sent=loss.TAU_SENT,
        margin=loss.MARGIN,
        contrastive_weight=loss.CONTRASTIVE_WEIGHT,
        contrastive_score_pow=cfg.TEST.CONTRASTIVE_SCORE_POW,
        nms_thresh=cfg.TEST.NMS_THRESH,
    )


def reference_videos(batch: GroundingBatch) -> list[Video]:
    """The videos of a batch, each with its own sentences, padded to the longest of them."""
    videos = []
    for number, (clips, duration) in enumerate(zip(batch.feats, batch.durations.tolist(), strict=True)):
        own = batch.video_index == number
        rows = batch.token_rows[own]
        lengths = batch.token_mask[rows].sum(dim=1)
        tokens = batch.tokens[rows, : int(lengths.max())]
        moments = [batch.moments[batch.moment_layout.owner == sentence] for sentence in own.nonzero().flatten()]
        videos.append(Video(clips, tokens, lengths, moments, duration))
    return videos


def reference_params(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a network themselves: gradients and running statistics end up in it."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
