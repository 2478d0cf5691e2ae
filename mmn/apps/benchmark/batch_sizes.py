"""The batches that are measured, of each released config. Nothing here takes time to import."""

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

LONG_VIDEO_MINUTES = (1.0, 5.0, 20.0, 60.0, 180.0)
