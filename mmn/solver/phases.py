"""Training phases: the weight of the contrastive losses, and when the text encoder is trained (SPEC section 4)."""

from collections.abc import Mapping

from torch import Tensor, nn
from yacs.config import CfgNode

from mmn.modeling.text_encoder import last_layers


def contrastive_weight(cfg: CfgNode, epoch: int) -> float:
    """The factor on the two contrastive losses in this epoch, counted from 1.

    Despite the key's name the contrastive losses do not end with epoch ONLY_IOU; they go on at a hundredth.
    """
    phase = 1.0 if epoch <= cfg.SOLVER.ONLY_IOU else cfg.SOLVER.LATE_CONTRASTIVE_FACTOR
    return phase * cfg.MODEL.MMN.LOSS.CONTRASTIVE_WEIGHT


def total_loss(cfg: CfgNode, losses: Mapping[str, Tensor], epoch: int) -> Tensor:
    """The sum that is minimised in this epoch: `vid`, `sent` and `iou` with their weights (paper section 3.3)."""
    loss = cfg.MODEL.MMN.LOSS
    contrastive = loss.VIDEO_TO_SENTENCE_WEIGHT * losses["vid"] + loss.SENTENCE_TO_VIDEO_WEIGHT * losses["sent"]
    return loss.IOU_WEIGHT * losses["iou"] + contrastive_weight(cfg, epoch) * contrastive


def set_text_encoder_frozen(cfg: CfgNode, model: nn.Module, epoch: int) -> bool:
    """Freeze or free `bert` for this epoch: no gradient and no update up to FREEZE_BERT; its dropout stays active.

    After that its last TEXT_ENCODER.TRAIN_LAYERS layers are free, the others stay frozen.

    Returns whether all of it is frozen.
    """
    bert, num_layers = model.text_encoder.bert, cfg.MODEL.MMN.TEXT_ENCODER.TRAIN_LAYERS
    frozen = epoch <= cfg.SOLVER.FREEZE_BERT
    bert.requires_grad_(False)
    for parameter in [] if frozen else last_layers(bert, num_layers):
        parameter.requires_grad_(True)
    return frozen
