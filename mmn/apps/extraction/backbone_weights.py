"""The weights of a backbone: where they come from, and which ones they are."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from mmn.utils.errors import ConfigError


@dataclass(frozen=True)
class Weights:
    """The weights that `--weights` names: "random:SEED", a file or folder, or a name that the backbone knows.

    Attributes:
        text: the words as given.
        seed: random seed; None for real weights.
    """

    text: str
    seed: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Weights":
        if text.partition(":")[0] != "random":
            return cls(text)
        match = re.fullmatch(r"random:(\d{1,18})", text)
        if not match:
            raise ConfigError(f"the weights {text!r} are no random ones: write random:SEED, e.g. random:0")
        return cls(text, int(match[1]))

    @property
    def is_path(self) -> bool:
        return self.seed is None and os.path.exists(self.text)

    @property
    def label(self) -> str:
        """The words of a recipe: a name, or the last part of a path."""
        return os.path.basename(os.path.normpath(self.text)) if self.is_path else self.text


def seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    """`build()` with the random numbers of `seed`; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
