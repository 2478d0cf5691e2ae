"""Files of the official program of 2D-TAN, microsoft/2D-TAN, in our keys (SPEC section 10)."""

import functools
import operator
from collections.abc import Callable
from typing import Any

from mmn.utils.errors import ConfigError, nearest

SECTION = "TAN."  # at the top of the file, by which it is known
IN_CODE: dict[str, object] = {
    "MODEL.ARCHITECTURE": "TAN2D",
    "SOLVER.OPTIMIZER": "adam",
    "SOLVER.SCHEDULE": "plateau",
    "SOLVER.CLIP_GRAD_NORM": 10.0,
    "SOLVER.TEST_ITERS": -1,
    "SOLVER.SEED": 0,
    "SOLVER.CHECKPOINT_PERIOD": 100,  # every evaluation leaves a checkpoint of its own
}
FRAME, PROP = "TAN.FRAME_MODULE.PARAMS.", "TAN.PROP_MODULE.PARAMS."
FUSION, MAP = "TAN.FUSION_MODULE.PARAMS.", "TAN.MAP_MODULE.PARAMS."
# Theirs -> ours, where the value is the same.
SAME = {
    "DATASET.NUM_SAMPLE_CLIPS": "INPUT.NUM_PRE_CLIPS",
    "TEST.BATCH_SIZE": "TEST.BATCH_SIZE",
    "TEST.NMS_THRESH": "TEST.NMS_THRESH",
    "TRAIN.BATCH_SIZE": "SOLVER.BATCH_SIZE",
    "TRAIN.LR": "SOLVER.LR",
    "TRAIN.MAX_EPOCH": "SOLVER.MAX_EPOCH",
    "TRAIN.FACTOR": "SOLVER.PLATEAU_FACTOR",
    "TRAIN.PATIENCE": "SOLVER.PLATEAU_PATIENCE",
    "LOSS.PARAMS.MIN_IOU": "MODEL.MMN.LOSS.MIN_IOU",
    "LOSS.PARAMS.MAX_IOU": "MODEL.MMN.LOSS.MAX_IOU",
    f"{FRAME}INPUT_SIZE": "MODEL.MMN.FEATPOOL.INPUT_SIZE",
    f"{FRAME}HIDDEN_SIZE": "MODEL.MMN.FEATPOOL.HIDDEN_SIZE",
    f"{FRAME}KERNEL_SIZE": "MODEL.MMN.FEATPOOL.KERNEL_SIZE",
    f"{FUSION}TXT_INPUT_SIZE": "MODEL.TAN2D.TEXT.EMBEDDING_SIZE",
    f"{FUSION}TXT_HIDDEN_SIZE": "MODEL.TAN2D.TEXT.HIDDEN_SIZE",
    f"{FUSION}LSTM.NUM_LAYERS": "MODEL.TAN2D.TEXT.NUM_LAYERS",
}
# Keys that can have but one value here.
ONLY: dict[str, object] = {
    "MODEL.NAME": "TAN",
    "DATASET.NORMALIZE": True,
    "DATASET.RANDOM_SAMPLING": False,
    "TEST.RECALL": "1,5",
    "TRAIN.WEIGHT_DECAY": 0,
    "TRAIN.CONTINUE": False,  # SOLVER.RESUME is ours
    "LOSS.NAME": "bce_rescale_loss",
    "LOSS.PARAMS.BIAS": 0,
    "TAN.FRAME_MODULE.NAME": "FrameAvgPool",
    "TAN.FUSION_MODULE.NAME": "BaseFusion",
    "TAN.MAP_MODULE.NAME": "MapConv",
    f"{FUSION}LSTM.BIDIRECTIONAL": False,
}
IGNORED = (  # files and folders, machines, and what is evaluated besides
    *("WORKERS", "MODEL_DIR", "RESULT_DIR", "LOG_DIR", "DATA_DIR", "OUTPUT_DIR", "TAG", "DEBUG", "GPUS"),
    *("DATASET.VIS_INPUT_TYPE", "DATASET.OUTPUT_PATH", "TEST.EVAL_TRAIN", "MODEL.CHECKPOINT", "MODEL.PARAMS"),
    *("CUDNN.DETERMINISTIC", "CUDNN.BENCHMARK", "CUDNN.ENABLED"),
)
READ = (  # by `translate` itself
    *("DATASET.NAME", "DATASET.NO_VAL", "DATASET.TARGET_STRIDE", "TEST.TIOU", f"{FRAME}STRIDE", f"{FUSION}HIDDEN_SIZE"),
    *(
        "TAN.PROP_MODULE.NAME",
        f"{PROP}NUM_SCALE_LAYERS",
        f"{PROP}HIDDEN_SIZE",
        f"{MAP}INPUT_SIZE",
        "TAN.PRED_INPUT_SIZE",
    ),
    *(f"{MAP}{name}" for name in ("HIDDEN_SIZES", "KERNEL_SIZES", "STRIDES", "PADDINGS", "DILATIONS")),
)
NAMES = {"charades": "charades", "activitynet": "activitynet", "tacos": "tacos"}
MAPS = {"SparsePropMaxPool": "pool", "SparsePropConv": "conv"}


def translate(values: dict[str, object], where: str) -> dict[str, object]:
    """The values of an official file by our names. Raises ConfigError, naming the key, for what cannot be said here."""
    theirs = _Official(values, where)
    theirs.refuse_unknown()
    for key, value in ONLY.items():
        theirs.require(key, functools.partial(operator.eq, value), repr(value))
    ours = {name: values[key] for key, name in SAME.items() if key in values}
    stride = theirs.get("DATASET.TARGET_STRIDE", lambda value: type(value) is int and value > 0, "at least 1")
    clips = theirs.get("DATASET.NUM_SAMPLE_CLIPS", lambda value: type(value) is int, "a whole number")
    ours["MODEL.MMN.NUM_CLIPS"] = clips // stride
    kernel = values.get(f"{FRAME}KERNEL_SIZE")
    theirs.require(f"{FRAME}STRIDE", lambda value: value == kernel, f"KERNEL_SIZE {kernel}")
    return ours | _splits(theirs) | _prop_module(theirs) | _map_module(theirs)


class _Official:
    """The values of a file, asked for with what they must be."""

    def __init__(self, values: dict[str, object], where: str):
        self.values = values
        self.where = where

    def refuse_unknown(self) -> None:
        known = (*SAME, *ONLY, *IGNORED, *READ)
        # Keys of ours in the same file, such as the path of the word vectors, are its user's.
        for key in self.values:
            if key not in known and not key.startswith("MODEL.TAN2D."):
                raise ConfigError(
                    f"{self.where} is a file of the official 2D-TAN and has a key {key}, which is none{nearest(key, known)}"
                )

    def require(self, key: str, fits: Callable[[Any], bool], what: str) -> None:
        """Raise ConfigError where the file has the key with a value that does not fit."""
        if key in self.values and not fits(self.values[key]):
            raise ConfigError(f"{self.where} sets {key} to {self.values[key]!r}: only {what} can be expressed here")

    def get(self, key: str, fits: Callable[[Any], bool], what: str) -> Any:
        """The value of a key that the file must have."""
        if key not in self.values:
            raise ConfigError(f"{self.where} is a file of the official 2D-TAN, but lacks {key}: add it")
        self.require(key, fits, what)
        return self.values[key]


def _splits(theirs: _Official) -> dict[str, object]:
    name = theirs.get("DATASET.NAME", lambda value: str(value).lower() in NAMES, f"one of {', '.join(NAMES)}").lower()
    ours: dict[str, object] = {
        "DATASETS.NAME": name,
        "DATASETS.TRAIN": (f"{name}_train",),
        "DATASETS.VAL": () if theirs.values.get("DATASET.NO_VAL") else (f"{name}_val",),
        "DATASETS.TEST": (f"{name}_test",),
        "MODEL.TAN2D.TEXT.CUT_PERIOD": name == "charades",
    }
    if "TEST.TIOU" in theirs.values:
        theirs.require("TEST.TIOU", lambda value: _numbers(value) is not None, "numbers with commas between")
        ours["TEST.THRESHOLDS"] = _numbers(theirs.values["TEST.TIOU"])
    return ours


def _numbers(value: object) -> tuple[float, ...] | None:
    """The numbers of "0.3,0.5" or of a single one; None for anything else."""
    try:
        return tuple(float(part) for part in str(value).split(","))
    except ValueError:
        return None


def _prop_module(theirs: _Official) -> dict[str, object]:
    counts = theirs.get(f"{PROP}NUM_SCALE_LAYERS", _are_numbers, "a list of whole numbers")
    width = theirs.values.get(f"{FRAME}HIDDEN_SIZE")
    for key in (f"{PROP}HIDDEN_SIZE", f"{FUSION}HIDDEN_SIZE", f"{MAP}INPUT_SIZE"):
        theirs.require(key, lambda value: value == width, f"the HIDDEN_SIZE of TAN.FRAME_MODULE, {width},")
    return {
        "MODEL.MMN.FEAT2D.NAME": MAPS[
            theirs.get("TAN.PROP_MODULE.NAME", list(MAPS).__contains__, f"one of {', '.join(MAPS)}")
        ],
        "MODEL.MMN.FEAT2D.POOLING_COUNTS": [counts[0] - 1, *counts[1:]],  # the first makes the diagonal
    }


def _map_module(theirs: _Official) -> dict[str, object]:
    """The convolutions, which here all have one width and one kernel, and give back the map's size."""
    kernels = theirs.get(f"{MAP}KERNEL_SIZES", _is_one_number, "one kernel size in all layers")
    widths = theirs.get(f"{MAP}HIDDEN_SIZES", _is_one_number, "one width in all layers")
    layers = len(kernels)
    padding = (kernels[0] - 1) * layers // 2
    wanted = {
        f"{MAP}HIDDEN_SIZES": [widths[0]] * layers,
        f"{MAP}STRIDES": [1] * layers,
        f"{MAP}PADDINGS": [padding] + [0] * (layers - 1),
        f"{MAP}DILATIONS": [1] * layers,
        "TAN.PRED_INPUT_SIZE": widths[0],
    }
    for key, value in wanted.items():
        theirs.require(key, functools.partial(operator.eq, value), repr(value))
    return {
        "MODEL.MMN.PREDICTOR.HIDDEN_SIZE": widths[0],
        "MODEL.MMN.PREDICTOR.KERNEL_SIZE": kernels[0],
        "MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS": layers,
    }


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(number) is int for number in value)


def _is_one_number(value: object) -> bool:
    return isinstance(value, list) and _are_numbers(value) and len(set(value)) == 1
