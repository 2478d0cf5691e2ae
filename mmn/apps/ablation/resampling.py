"""Settings of a table's bootstrap. Nothing here takes time to import."""

from dataclasses import dataclass

from mmn.utils.errors import UserError


@dataclass(frozen=True)
class Resampling:
    """Settings of the bootstrap.

    Attributes:
        count: resamples.
        seed: seed of the draws.
        confidence: width of the interval; 0.95 goes from the 2.5 % to the 97.5 % quantile.
    Raises UserError for values that cannot be.
    """

    count: int = 10_000
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self):
        if self.count < 100:
            raise UserError(f"{self.count} resamples say nothing about chance: ask for at least 100")
        if not 0 < self.confidence < 1:
            raise UserError(f"the confidence is {self.confidence}: it must be between 0 and 1, e.g. 0.95")
