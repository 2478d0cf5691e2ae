"""The grounding network and its losses. `mmn.reference` computes the same in one file, to be read first.

Shape legend, used in every docstring below:
    B  videos in the batch            S  sentences of the whole batch (every sentence belongs to one video)
    P  INPUT.NUM_PRE_CLIPS            N  MODEL.MMN.NUM_CLIPS
    D  FEATPOOL.INPUT_SIZE            H  FEATPOOL.HIDDEN_SIZE, PREDICTOR.HIDDEN_SIZE
    C  JOINT_SPACE_SIZE               M  valid cells of the N x N proposal map ("packed", row-major)
    L  tokens of the longest sentence   U  distinct sentences of the batch, which are encoded once
    W  true moments of the S sentences, one or more each
    T  tubes of the batch, in the place of B for HC-STVG (mmn.modeling.tubes)
Pairs of tensors or modules always go (contrastive, iou).
"""

from mmn.modeling.build import build_criterion, build_model, build_proposal_cells

__all__ = ["build_criterion", "build_model", "build_proposal_cells"]
