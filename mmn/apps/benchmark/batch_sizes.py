"""The batches that are measured, of each released config, and the parts. Nothing here takes time to import."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """A released config and the size of the batch it is measured with.

    Attributes:
        name: "charades", "activitynet" or "tacos".
        num_videos, num_sentences: videos, and sentences of each.
        duration: seconds of every video.
    """

    name: str
    num_videos: int
    num_sentences: int
    duration: float


SETTINGS = {
    "charades": Setting("charades", 8, 3, 30.0),
    "activitynet": Setting("activitynet", 4, 4, 120.0),
    "tacos": Setting("tacos", 1, 60, 280.0),
}

BOTH = MODES = ("eval", "train")
COMPONENTS = {  # of a batch, by name: the modes that have it
    "text": BOTH,
    "map": BOTH,
    "convolutions": BOTH,
    "losses": ("train",),
    "backward": ("train",),
    "optimizer": ("train",),
    "training step": ("train",),
    "evaluation forward": ("eval",),
    "NMS + recall": ("eval",),
}
DATA_TABLES = {  # what is not of a batch
    "data": BOTH,
    "waiting": ("train",),
    "index": ("eval",),
    "first searches": ("eval",),
}
PARTS = {**COMPONENTS, "memory": BOTH, **DATA_TABLES, "GPU": BOTH}

LONG_VIDEO_MINUTES = (1.0, 5.0, 20.0, 60.0, 180.0)
