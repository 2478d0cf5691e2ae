"""The choice of the queries that get a picture of their own."""

from dataclasses import dataclass

from mmn.utils.errors import ConfigError

CHOICES = {
    "worst": "the lowest IoU of the first prediction",
    "best": "the highest IoU of the first prediction",
    "random": "drawn at random",
    "first": "the first of the file",
}


@dataclass(frozen=True)
class QueryChoice:
    """The queries that get a picture of their own.

    Attributes:
        count: number of queries of each kind in `kinds`.
        kinds: names in CHOICES.
        qids: these queries instead.
        seed: random seed of the choice.
    """

    count: int = 4
    kinds: tuple[str, ...] = ("worst", "best", "random")
    qids: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self):
        if self.count < 0:
            raise ConfigError(f"--queries is {self.count}: it must be 0 or more")
