"""The words of a sweep on a command line. Nothing here takes time to import."""

from collections.abc import Iterable

SWEEPABLE = (
    "TEST.SCORE",
    "TEST.CONTRASTIVE_RULE",
    "TEST.CONTRASTIVE_SCORE_POW",
    "TEST.NMS_THRESH",
    "TEST.NUM_PREDICTIONS",
)


def split_words(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Words after --sweep -> the settings KEY=V1,V2, and the KEY VALUE pairs after them.

    >>> split_words(["TEST.NMS_THRESH=0.4,0.5", "MODEL.DEVICE", "cpu"])
    (['TEST.NMS_THRESH=0.4,0.5'], ['MODEL.DEVICE', 'cpu'])
    """
    words = list(words)
    count = next((place for place, word in enumerate(words) if "=" not in word), len(words))
    return words[:count], words[count:]
