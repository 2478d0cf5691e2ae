"""Combinations of values that cannot work, refused before anything is loaded."""

from yacs.config import CfgNode

from mmn.config.defaults import _C, CHOICES
from mmn.config.load import config_values
from mmn.structures.iou_thresholds import checked_thresholds
from mmn.structures.pooling import pooling_steps
from mmn.utils.errors import ConfigError, unknown_choice


def validate(cfg: CfgNode, world_size: int = 1, training: bool = True) -> None:
    """Raise ConfigError for the first value or combination that cannot work, naming the keys and a remedy.

    Args:
        training: False for an evaluation, which SOLVER.BATCH_SIZE does not concern.
    """
    _validate_choices(cfg)
    _validate_shapes(cfg)
    _require(
        cfg.MODEL.MMN.PREDICTOR.KEPT_MB >= 0,
        f"MODEL.MMN.PREDICTOR.KEPT_MB is {cfg.MODEL.MMN.PREDICTOR.KEPT_MB}: it must be 0 or more",
    )
    _validate_losses(cfg)
    _validate_factors(cfg)
    _validate_solver(cfg)
    _validate_schedule(cfg)
    if cfg.TEST.THRESHOLDS:
        checked_thresholds(cfg.TEST.THRESHOLDS, "TEST.THRESHOLDS")
    _require(cfg.SOLVER.ACCUMULATE > 0, f"SOLVER.ACCUMULATE is {cfg.SOLVER.ACCUMULATE}: it must be at least 1")
    _validate_batch_size("TEST.BATCH_SIZE", cfg.TEST.BATCH_SIZE, world_size)
    if training:
        _validate_batch_size("SOLVER.BATCH_SIZE", cfg.SOLVER.BATCH_SIZE, world_size)
        _require(
            cfg.SOLVER.BATCH_SIZE % (world_size * cfg.SOLVER.ACCUMULATE) == 0,
            f"SOLVER.BATCH_SIZE is {cfg.SOLVER.BATCH_SIZE}, which {world_size} processes times SOLVER.ACCUMULATE "
            f"{cfg.SOLVER.ACCUMULATE} do not divide: change one of them",
        )


def input_sizes(cfg: CfgNode) -> list[int]:
    """The width of each feature track, or one number for all of them together."""
    sizes = cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE
    return sizes if isinstance(sizes, list) else [sizes]


def _validate_batch_size(key: str, size: int, world_size: int) -> None:
    _require(size > 0, f"{key} is {size}: it must be at least 1")
    _require(
        size % world_size == 0,
        f"{key} is {size}, which the {world_size} processes do not divide: "
        f"set it to a multiple of {world_size}, or start another number of processes",
    )


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ConfigError(sentence)


def _validate_shapes(cfg: CfgNode) -> None:
    mmn, num_pre_clips = cfg.MODEL.MMN, cfg.INPUT.NUM_PRE_CLIPS
    num_clips = mmn.NUM_CLIPS
    _require(
        mmn.TEXT_ENCODER.NAME == "BERT",
        f"MODEL.MMN.TEXT_ENCODER.NAME is {mmn.TEXT_ENCODER.NAME!r}: only 'BERT' is built here; "
        "pick another encoder by MODEL.MMN.TEXT_ENCODER.PRETRAINED",
    )
    for key, value in (
        ("INPUT.NUM_PRE_CLIPS", num_pre_clips),
        ("MODEL.MMN.NUM_CLIPS", num_clips),
        ("MODEL.MMN.JOINT_SPACE_SIZE", mmn.JOINT_SPACE_SIZE),
        ("MODEL.MMN.FEATPOOL.INPUT_SIZE", min(input_sizes(cfg))),
        ("MODEL.MMN.FEATPOOL.HIDDEN_SIZE", mmn.FEATPOOL.HIDDEN_SIZE),
        ("MODEL.MMN.FEATPOOL.KERNEL_SIZE", mmn.FEATPOOL.KERNEL_SIZE),
        ("MODEL.MMN.PREDICTOR.HIDDEN_SIZE", mmn.PREDICTOR.HIDDEN_SIZE),
        ("MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS", mmn.PREDICTOR.NUM_STACK_LAYERS),
    ):
        _require(value > 0, f"{key} is {value}: it must be at least 1")
    _require(
        num_pre_clips % num_clips == 0,
        f"INPUT.NUM_PRE_CLIPS is {num_pre_clips}, no multiple of MODEL.MMN.NUM_CLIPS {num_clips}: "
        f"set it to {max(1, num_pre_clips // num_clips) * num_clips}",
    )
    kernel_size, stride = mmn.FEATPOOL.KERNEL_SIZE, num_pre_clips // num_clips
    pooled = (num_pre_clips - kernel_size) // stride + 1
    _require(
        pooled == num_clips,
        f"MODEL.MMN.FEATPOOL.KERNEL_SIZE {kernel_size} with a stride of {stride} clips yields {max(0, pooled)} clips, "
        f"not MODEL.MMN.NUM_CLIPS {num_clips}: set it to at most {stride}",
    )
    counts = mmn.FEAT2D.POOLING_COUNTS
    _require(all(count >= 0 for count in counts), f"MODEL.MMN.FEAT2D.POOLING_COUNTS {counts} has an entry below 0")
    pooling_steps(num_clips, counts)  # raises where the counts do not fit
    _require(
        mmn.PREDICTOR.KERNEL_SIZE % 2 == 1 and mmn.PREDICTOR.KERNEL_SIZE > 0,
        f"MODEL.MMN.PREDICTOR.KERNEL_SIZE is {mmn.PREDICTOR.KERNEL_SIZE}: it must be odd, or the map moves",
    )


def _validate_choices(cfg: CfgNode) -> None:
    values = config_values(cfg)
    for key, choices in CHOICES.items():
        if values[key] not in choices:
            raise unknown_choice(key, values[key], choices)


def _validate_losses(cfg: CfgNode) -> None:
    loss = cfg.MODEL.MMN.LOSS
    _require(
        loss.MIN_IOU < loss.MAX_IOU,
        f"MODEL.MMN.LOSS.MIN_IOU {loss.MIN_IOU} must be below MODEL.MMN.LOSS.MAX_IOU {loss.MAX_IOU}",
    )
    for key in ("TAU_VIDEO", "TAU_SENT"):
        _require(loss[key] > 0, f"MODEL.MMN.LOSS.{key} is {loss[key]}: a temperature must be above 0")
    _require(
        loss.NUM_POSTIVE_VIDEO_PROPOSAL > 0,
        f"MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL is {loss.NUM_POSTIVE_VIDEO_PROPOSAL}: it must be at least 1",
    )


def _validate_factors(cfg: CfgNode) -> None:
    """Losses and negatives of which something is left to learn from."""
    loss, kinds = cfg.MODEL.MMN.LOSS, cfg.MODEL.MMN.LOSS.NEGATIVES
    weights = ("VIDEO_TO_SENTENCE_WEIGHT", "SENTENCE_TO_VIDEO_WEIGHT", "IOU_WEIGHT")
    for key in ("CONTRASTIVE_WEIGHT", *weights):
        _require(loss[key] >= 0, f"MODEL.MMN.LOSS.{key} is {loss[key]}: it must be 0 (off) or more")
    _require(
        any(loss[key] for key in weights) and (loss.IOU_WEIGHT or loss.CONTRASTIVE_WEIGHT),
        f"all losses are off: set one of MODEL.MMN.LOSS.{', '.join(weights)} above 0, and CONTRASTIVE_WEIGHT for the first "
        "two",
    )
    _require(
        loss.IOU_WEIGHT or cfg.SOLVER.LATE_CONTRASTIVE_FACTOR or cfg.SOLVER.MAX_EPOCH <= cfg.SOLVER.ONLY_IOU,
        f"MODEL.MMN.LOSS.IOU_WEIGHT and SOLVER.LATE_CONTRASTIVE_FACTOR are 0, which leaves no loss after epoch "
        f"{cfg.SOLVER.ONLY_IOU}: raise SOLVER.ONLY_IOU to SOLVER.MAX_EPOCH {cfg.SOLVER.MAX_EPOCH}, or one of the two",
    )
    _validate_factors_of_the_task(cfg)
    for weight, name in (("VIDEO_TO_SENTENCE_WEIGHT", "SENTENCES"), ("SENTENCE_TO_VIDEO_WEIGHT", "MOMENTS")):
        _require(
            not loss[weight] or kinds[f"SAME_VIDEO_{name}"] or kinds[f"OTHER_VIDEO_{name}"],
            f"MODEL.MMN.LOSS.NEGATIVES.SAME_VIDEO_{name} and OTHER_VIDEO_{name} are both off, which leaves a positive "
            f"nothing to be contrasted with: turn one on, or set MODEL.MMN.LOSS.{weight} to 0",
        )
    _require(
        loss.MEMORY_BANK >= 0, f"MODEL.MMN.LOSS.MEMORY_BANK is {loss.MEMORY_BANK}: it must be 0 (off) or more videos"
    )
    _require(
        not loss.MEMORY_BANK or kinds.OTHER_VIDEO_SENTENCES or kinds.OTHER_VIDEO_MOMENTS,
        f"MODEL.MMN.LOSS.MEMORY_BANK is {loss.MEMORY_BANK}, but NEGATIVES.OTHER_VIDEO_SENTENCES and OTHER_VIDEO_MOMENTS, "
        "the kinds it holds, are off: turn one on, or set it to 0",
    )


def _validate_factors_of_the_task(cfg: CfgNode) -> None:
    """Factors that only the losses and scores of one task know stay as they are for the others."""
    loss, task = cfg.MODEL.MMN.LOSS, cfg.MODEL.ARCHITECTURE
    _require(
        not (cfg.MODEL.MMN.DUAL_START and cfg.MODEL.MMN.SHARED_HEADS),
        "MODEL.MMN.DUAL_START is True, which starts the two heads differently: set MODEL.MMN.SHARED_HEADS to False",
    )
    of_losses = (
        ("MODEL.MMN.DUAL_START", cfg.MODEL.MMN.DUAL_START, False),
        *((f"MODEL.MMN.LOSS.NEGATIVES.{kind}", loss.NEGATIVES[kind], True) for kind in loss.NEGATIVES),
        ("MODEL.MMN.LOSS.MEMORY_BANK", loss.MEMORY_BANK, 0),
    )
    of_moments = (
        ("TEST.SCORE", cfg.TEST.SCORE, "product"),
        ("TEST.CONTRASTIVE_RULE", cfg.TEST.CONTRASTIVE_RULE, "cosine"),
    )
    of_tubes = (("MODEL.MMN.LOSS.TUBE_INDEX", loss.TUBE_INDEX, "released"),)
    for owners, factors in ((("MMN",), of_losses), (("MMN", "ZERO_SHOT"), of_moments), (("STVG",), of_tubes)):
        for key, value, default in factors:
            _require(
                task in owners or value == default,
                f"{key} is {value!r}, which is for MODEL.ARCHITECTURE {' and '.join(owners)} alone, not {task}: leave it "
                f"at {default!r}",
            )


def untrained_score(cfg: CfgNode) -> str | None:
    """A sentence where moments are ranked by a score that no loss trains; None where all is well."""
    loss = cfg.MODEL.MMN.LOSS
    contrastive = loss.CONTRASTIVE_WEIGHT * (loss.VIDEO_TO_SENTENCE_WEIGHT + loss.SENTENCE_TO_VIDEO_WEIGHT)
    for weight, name, other in ((loss.IOU_WEIGHT, "IoU", "contrastive"), (contrastive, "contrastive", "iou")):
        if not weight and other != cfg.TEST.SCORE:
            return f"TEST.SCORE {cfg.TEST.SCORE} uses the {name} score, but its losses are off: TEST.SCORE {other} does not"
    return None


def _validate_schedule(cfg: CfgNode) -> None:
    """Optimizer, plateau and evaluations by steps."""
    solver, default = cfg.SOLVER, _C.SOLVER
    for key in ("BETAS", "WEIGHT_DECAY"):
        _require(
            solver.OPTIMIZER == "adamw" or solver[key] == default[key],
            f"SOLVER.{key} is {solver[key]}, which is for SOLVER.OPTIMIZER adamw alone: leave it at {default[key]}",
        )
    _require(
        solver.SCHEDULE != "plateau" or cfg.MODEL.ARCHITECTURE == "TAN2D",
        f"SOLVER.SCHEDULE is plateau, which follows the validation loss that MODEL.ARCHITECTURE TAN2D alone has, not "
        f"{cfg.MODEL.ARCHITECTURE}: take multistep or cosine",
    )
    _require(
        0 < solver.PLATEAU_FACTOR < 1, f"SOLVER.PLATEAU_FACTOR is {solver.PLATEAU_FACTOR}: it must be between 0 and 1"
    )
    _require(
        solver.PLATEAU_PATIENCE >= 0, f"SOLVER.PLATEAU_PATIENCE is {solver.PLATEAU_PATIENCE}: it must be 0 or more"
    )
    _require(
        solver.TEST_ITERS >= -1,
        f"SOLVER.TEST_ITERS is {solver.TEST_ITERS}: it must be steps, 0 (off) or -1 (an epoch's)",
    )


def _validate_solver(cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    for key in ("TEST_PERIOD", "CHECKPOINT_PERIOD", "RESUME_EPOCH", "LOG_PERIOD"):
        _require(solver[key] > 0, f"SOLVER.{key} is {solver[key]}: it must be at least 1")
    for key in ("CHECKPOINT_ITERS", "CHECKPOINT_KEEP"):
        _require(solver[key] >= 0, f"SOLVER.{key} is {solver[key]}: it must be 0 or more")
    _require(solver.TIMEOUT_MINUTES > 0, f"SOLVER.TIMEOUT_MINUTES is {solver.TIMEOUT_MINUTES}: it must be at least 1")
    _require(solver.MAX_EPOCH >= 0, f"SOLVER.MAX_EPOCH is {solver.MAX_EPOCH}: it must be 0 or more")
    _require(solver.LR > 0, f"SOLVER.LR is {solver.LR}: it must be above 0")
    _require(
        solver.CLIP_GRAD_NORM >= 0, f"SOLVER.CLIP_GRAD_NORM is {solver.CLIP_GRAD_NORM}: it must be 0 (off) or more"
    )
    _require(solver.WARMUP_ITERS >= 0, f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}: it must be 0 (off) or more")
    _require(
        0 <= solver.EMA_DECAY < 1,
        f"SOLVER.EMA_DECAY is {solver.EMA_DECAY}: it must be 0 (off) or a number below 1, such as 0.999",
    )
    _require(
        len(solver.BETAS) == 2 and all(0 <= beta < 1 for beta in solver.BETAS),
        f"SOLVER.BETAS is {solver.BETAS}: AdamW takes two numbers from 0 up to, but not, 1",
    )
    _require(solver.SEED >= 0, f"SOLVER.SEED is {solver.SEED}: it must be 0 or more")
    _require(solver.WEIGHT_DECAY >= 0, f"SOLVER.WEIGHT_DECAY is {solver.WEIGHT_DECAY}: it must be 0 or more")
    _require(
        cfg.TEST.NUM_PREDICTIONS >= 5,
        f"TEST.NUM_PREDICTIONS is {cfg.TEST.NUM_PREDICTIONS}: it must be at least 5, which R@5 needs",
    )
    _require(cfg.DATALOADER.NUM_WORKERS >= 0, f"DATALOADER.NUM_WORKERS is {cfg.DATALOADER.NUM_WORKERS}: 0 or more")
    _require(cfg.DATALOADER.CACHE_GB >= 0, f"DATALOADER.CACHE_GB is {cfg.DATALOADER.CACHE_GB}: 0 or more")
