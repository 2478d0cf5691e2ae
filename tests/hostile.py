"""Bad input of every kind, each made in a folder, with what the refusal must name. Used by tests/test_bad_input.py."""

import json
from pathlib import Path

import h5py
import numpy as np

DIM = 8
GOOD = {"duration": 10.0, "timestamps": [[1, 2]], "sentences": ["a person walks"]}


def annotations(**changes):
    """One good entry with some fields replaced; None leaves a field out."""
    entry = {key: value for key, value in (GOOD | changes).items() if value is not None}
    return json.dumps({"video": entry})


# Text of the annotation file -> what the sentence must contain.
ANNOTATIONS = {
    "not json": ("{", "not valid json"),
    "no text at all": ("\udcff", "is no UTF-8 text"),
    "an empty file": ("", "an empty file"),
    "an empty object": ("{}", "an empty object"),
    "a list": ("[]", "a list"),
    "a number": ("3", "a int"),
    "an entry that is a list": ('{"video": []}', "video video"),
    "no duration": (annotations(duration=None), "'duration'"),
    "no timestamps": (annotations(timestamps=None), "'timestamps'"),
    "no sentences": (annotations(sentences=None), "'sentences'"),
    "more sentences than times": (annotations(sentences=["a", "b"]), "equal length"),
    "sentences that are no list": (annotations(sentences="ab"), "equal length"),
    "a NaN time": (annotations(timestamps=[[float("nan"), 2]]), "timestamp 0"),
    "an infinite time": (annotations(timestamps=[[0, float("inf")]]), "timestamp 0"),
    "a time too large for a float": (annotations(timestamps=[[0, 10**400]]), "timestamp 0"),
    "a lone surrogate": (annotations(sentences=["\ud800"]), "sentence 0"),
    "a duration beyond float32": (annotations(duration=1e300), "duration of 1e+300"),
    "reversed times alone": (annotations(timestamps=[[2, 1]]), "no sentence with start < end"),
    "zero duration": (annotations(duration=0), "duration 0"),
    "a NaN duration": (annotations(duration=float("nan")), "duration nan"),
    "an empty sentence": (annotations(sentences=[""]), "sentence 0"),
    "a sentence of blanks": (annotations(sentences=[" \t"]), "sentence 0"),
    "a sentence that is a number": (annotations(sentences=[3]), "sentence 0"),
    "a video twice": ('{"video": {}, "video": {}}', "'video' stands twice"),
    "nested too deeply": ("[" * 100000, "not valid json"),
}

# Content of the feature file for the video "video" -> what the sentence must contain.
FEATURES = {
    "a missing video": (None, "lacks 1 of 1 videos: video"),
    "another width": (np.ones((3, DIM + 1), np.float32), "INPUT_SIZE"),
    "no row": (np.ones((0, DIM), np.float32), "shape [0, 8]"),
    "one dimension": (np.ones(DIM, np.float32), "shape [8]"),
    "a number": (np.float32(3), "shape []"),
    "text": (np.array([[b"a"] * DIM]), "not finite numbers"),
    "a NaN row": (np.array([[1.0] * DIM, [np.nan] * DIM], np.float32), "not finite"),
    "an infinite value": (np.array([[1.0] * DIM, [np.inf] * DIM], np.float32), "not finite"),
    "a value too large for float32": (np.full((2, DIM), 1e300), "not finite"),
    "a group": ("group", "has no dataset"),
}

# KEY VALUE pairs over synthetic.yaml -> what the sentence must contain.
CONFIGS = {
    "a typo": (["SOLVER.MAX_EPOCS", "3"], "did you mean SOLVER.MAX_EPOCH?"),
    "a wrong type": (["SOLVER.BATCH_SIZE", "four"], "SOLVER.BATCH_SIZE"),
    "clips that do not divide": (["INPUT.NUM_PRE_CLIPS", "33"], "no multiple of MODEL.MMN.NUM_CLIPS"),
    "too many poolings": (["MODEL.MMN.FEAT2D.POOLING_COUNTS", "[16]"], "POOLING_COUNTS"),
    "an even kernel": (["MODEL.MMN.PREDICTOR.KERNEL_SIZE", "4"], "must be odd"),
    "an unknown split": (["DATASETS.TRAIN", "nobodys_train"], "nobodys_train"),
    "a pooling kernel that does not fit": (["MODEL.MMN.FEATPOOL.KERNEL_SIZE", "3"], "FEATPOOL.KERNEL_SIZE"),
    "a NaN learning rate": (["SOLVER.LR", "1e999"], "SOLVER.LR"),
    "no batch": (["TEST.BATCH_SIZE", "0"], "TEST.BATCH_SIZE"),
    "negative checkpoint period": (["SOLVER.CHECKPOINT_ITERS", "-1"], "SOLVER.CHECKPOINT_ITERS"),
    "negative count to keep": (["SOLVER.CHECKPOINT_KEEP", "-1"], "SOLVER.CHECKPOINT_KEEP"),
    "no time to wait": (["SOLVER.TIMEOUT_MINUTES", "0"], "SOLVER.TIMEOUT_MINUTES"),
}


def write_features(path: Path, content: object) -> None:
    with h5py.File(path, "w") as file:
        if isinstance(content, str):
            file.create_group("video")
        elif content is not None:
            file["video"] = content
