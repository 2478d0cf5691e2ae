"""cfg -> network, criterion and proposal cells. Beyond these functions nothing here reads a config."""

from collections.abc import Callable

from torch import nn
from yacs.config import CfgNode

from mmn.config.validate import input_sizes
from mmn.modeling.dual_encoder import DualEncoder, DualStartMMN
from mmn.modeling.feat2d import FEAT2D
from mmn.modeling.featpool import FeatAvgPool
from mmn.modeling.losses import GroundingCriterion, MutualMatchingLoss, NegativeKinds
from mmn.modeling.map_conv import MapConv
from mmn.modeling.memory_bank import MemoryBank
from mmn.modeling.mmn import MMN
from mmn.modeling.proposal_conv import ProposalConv
from mmn.modeling.tan2d import PROP_LAYERS, TAN2D, FrameLayer, FusionLayer, MapCriterion
from mmn.modeling.text_encoder import SentencePooling, TextEncoder, last_layers, load_encoder
from mmn.modeling.tubes import TubeCriterion, TubeFeatAvgPool, TubeMatchingLoss
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import ConfigError


def build_proposal_cells(cfg: CfgNode) -> ProposalCells:
    """The valid cells of the proposal map."""
    return ProposalCells(cfg.MODEL.MMN.NUM_CLIPS, cfg.MODEL.MMN.FEAT2D.POOLING_COUNTS)


def build_featpool(cfg: CfgNode) -> FeatAvgPool:
    """[B, P, D] -> [B, H, N], D the sum of the widths of the feature tracks."""
    pool = cfg.MODEL.MMN.FEATPOOL
    stride = cfg.INPUT.NUM_PRE_CLIPS // cfg.MODEL.MMN.NUM_CLIPS
    return FeatAvgPool(sum(input_sizes(cfg)), pool.HIDDEN_SIZE, pool.KERNEL_SIZE, stride)


def build_tube_featpool(cfg: CfgNode) -> TubeFeatAvgPool:
    """[T, P, D] -> [T, H, N], D the sum of the widths of the feature tracks."""
    mmn, size = cfg.MODEL.MMN, sum(input_sizes(cfg))
    stride = cfg.INPUT.NUM_PRE_CLIPS // mmn.NUM_CLIPS
    return TubeFeatAvgPool(size, mmn.FEATPOOL.HIDDEN_SIZE, mmn.FEATPOOL.KERNEL_SIZE, stride, mmn.JOINT_SPACE_SIZE)


def build_model(
    cfg: CfgNode, pretrained_text: bool = True, make_featpool: Callable[[CfgNode], nn.Module] = build_featpool
) -> MMN:
    """The network on the CPU, in training mode.

    Args:
        pretrained_text: False where a checkpoint will bring the text encoder's weights: then only its config is read.
        make_featpool: `build_featpool`, or for tubes `build_tube_featpool`.
    """
    mmn = cfg.MODEL.MMN
    cells = build_proposal_cells(cfg)
    encoder, encoder_size = load_encoder(mmn.TEXT_ENCODER.PRETRAINED, pretrained_text, mmn.TEXT_ENCODER.POOLING)
    last_layers(encoder, mmn.TEXT_ENCODER.TRAIN_LAYERS)  # refuses a number that does not fit
    parts = (
        make_featpool(cfg),
        FEAT2D[mmn.FEAT2D.NAME](cells, mmn.FEATPOOL.HIDDEN_SIZE),
        TextEncoder(encoder, encoder_size, mmn.JOINT_SPACE_SIZE, mmn.TEXT_ENCODER.POOLING, mmn.SHARED_HEADS),
        build_proposal_conv(cfg, cells),
    )
    if not mmn.DUAL_START:
        return MMN(*parts)
    check_one_space(cfg, encoder_size)
    return DualStartMMN(*parts, cells=cells)


def build_dual_encoder(cfg: CfgNode, pretrained_text: bool = True) -> DualEncoder:
    """The network of MODEL.ARCHITECTURE ZERO_SHOT on the CPU; the flag is that of `build_model`.

    Raises ConfigError where images' and sentences' vectors are not of one width, so that nothing could be compared.
    """
    encoder = cfg.MODEL.MMN.TEXT_ENCODER
    bert, size = load_encoder(encoder.PRETRAINED, pretrained_text, encoder.POOLING)
    check_one_space(cfg, size)
    return DualEncoder(build_proposal_cells(cfg), SentencePooling(bert, encoder.POOLING))


def check_one_space(cfg: CfgNode, size: int) -> None:
    """Raise ConfigError unless features, joint space and sentence vectors of width `size` can be one space."""
    mmn = cfg.MODEL.MMN
    if not mmn.FEATPOOL.INPUT_SIZE == mmn.JOINT_SPACE_SIZE == size:
        raise ConfigError(
            f"{mmn.TEXT_ENCODER.PRETRAINED} with MODEL.MMN.TEXT_ENCODER.POOLING {mmn.TEXT_ENCODER.POOLING} gives vectors "
            f"of width {size}, MODEL.MMN.FEATPOOL.INPUT_SIZE is {mmn.FEATPOOL.INPUT_SIZE} and JOINT_SPACE_SIZE "
            f"{mmn.JOINT_SPACE_SIZE}: a dual encoder has one width for all three, that of its image embeddings"
        )


def build_proposal_conv(cfg: CfgNode, cells: ProposalCells) -> nn.Module:
    """The convolutions over the proposal map, and both heads."""
    predictor = cfg.MODEL.MMN.PREDICTOR
    return ProposalConv(
        cells,
        cfg.MODEL.MMN.FEATPOOL.HIDDEN_SIZE,
        predictor.HIDDEN_SIZE,
        predictor.KERNEL_SIZE,
        predictor.NUM_STACK_LAYERS,
        cfg.MODEL.MMN.JOINT_SPACE_SIZE,
        impl=predictor.IMPL,
        checkpoint_activations=predictor.CHECKPOINT_ACTIVATIONS,
        channels_last=predictor.CHANNELS_LAST,
        batch_norm=predictor.BATCH_NORM,
        shared_heads=cfg.MODEL.MMN.SHARED_HEADS,
        kept_mb=predictor.KEPT_MB,
    )


def build_criterion(cfg: CfgNode) -> GroundingCriterion:
    """The losses of moments. Raises ConfigError where K is more than the map has cells."""
    loss, cells = cfg.MODEL.MMN.LOSS, build_proposal_cells(cfg)
    if len(cells) < loss.NUM_POSTIVE_VIDEO_PROPOSAL:
        raise ConfigError(
            f"MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL is {loss.NUM_POSTIVE_VIDEO_PROPOSAL}, more than the "
            f"{len(cells)} moments of the proposal map: lower it"
        )
    matching = MutualMatchingLoss(
        num_positives=loss.NUM_POSTIVE_VIDEO_PROPOSAL,
        margin=loss.MARGIN,
        tau_video=loss.TAU_VIDEO,
        tau_sent=loss.TAU_SENT,
        negative_video_iou=loss.NEGATIVE_VIDEO_IOU,
        sent_removal_iou=loss.SENT_REMOVAL_IOU,
        masked_negatives=loss.MASKED_NEGATIVES,
        kinds=NegativeKinds(
            same_video_sentences=loss.NEGATIVES.SAME_VIDEO_SENTENCES,
            other_video_sentences=loss.NEGATIVES.OTHER_VIDEO_SENTENCES,
            same_video_moments=loss.NEGATIVES.SAME_VIDEO_MOMENTS,
            other_video_moments=loss.NEGATIVES.OTHER_VIDEO_MOMENTS,
        ),
    )
    memory = MemoryBank(loss.MEMORY_BANK) if loss.MEMORY_BANK else None
    return GroundingCriterion(cells, loss.MIN_IOU, loss.MAX_IOU, matching, loss.GATHER_NEGATIVES, memory)


def build_tube_criterion(cfg: CfgNode) -> TubeCriterion:
    """The losses of tubes, as MODEL.MMN.LOSS says."""
    loss = cfg.MODEL.MMN.LOSS
    matching = TubeMatchingLoss(
        margin=loss.MARGIN,
        tau_video=loss.TAU_VIDEO,
        tau_sent=loss.TAU_SENT,
        negative_video_iou=loss.NEGATIVE_VIDEO_IOU,
        masked_negatives=loss.MASKED_NEGATIVES,
        tube_index=loss.TUBE_INDEX,
    )
    return TubeCriterion(loss.MIN_IOU, loss.MAX_IOU, matching, loss.GATHER_NEGATIVES)


def build_tan2d(cfg: CfgNode, pretrained_text: bool = True) -> TAN2D:
    """2D-TAN on the CPU, in training mode; `pretrained_text` changes nothing, since no part of it is pretrained."""
    mmn, tan2d = cfg.MODEL.MMN, cfg.MODEL.TAN2D
    cells, pool, text, predictor = build_proposal_cells(cfg), mmn.FEATPOOL, tan2d.TEXT, mmn.PREDICTOR
    return TAN2D(
        FrameLayer(sum(input_sizes(cfg)), pool.HIDDEN_SIZE, pool.KERNEL_SIZE),
        PROP_LAYERS[mmn.FEAT2D.NAME](cells, pool.HIDDEN_SIZE),
        FusionLayer(pool.HIDDEN_SIZE, text.EMBEDDING_SIZE, text.HIDDEN_SIZE, text.NUM_LAYERS, tan2d.MASK_FUSION),
        MapConv(
            cells,
            pool.HIDDEN_SIZE,
            predictor.HIDDEN_SIZE,
            predictor.KERNEL_SIZE,
            predictor.NUM_STACK_LAYERS,
            predictor.IMPL,
            predictor.CHECKPOINT_ACTIVATIONS,
            predictor.CHANNELS_LAST,
            kept_mb=predictor.KEPT_MB,
        ),
        predictor.HIDDEN_SIZE,
    )


def build_map_criterion(cfg: CfgNode) -> MapCriterion:
    """The loss of 2D-TAN, official or third-party, which MASK_FUSION tells apart."""
    loss = cfg.MODEL.MMN.LOSS
    return MapCriterion(
        build_proposal_cells(cfg), loss.MIN_IOU, loss.MAX_IOU, third_party=not cfg.MODEL.TAN2D.MASK_FUSION
    )
