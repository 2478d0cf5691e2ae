"""Sentences as vectors in the two joint spaces, for whoever compares them with moments."""

from dataclasses import dataclass

import numpy as np

HEADS = ("contrastive", "iou")  # a vector of each for every sentence and moment


@dataclass(frozen=True, eq=False)
class QueryVectors:
    """Q queries as unit vectors in the two joint spaces, each [Q, C] float32."""

    contrastive: np.ndarray
    iou: np.ndarray

    def __len__(self) -> int:
        return len(self.contrastive)

    def vectors(self, head: str) -> np.ndarray:
        """[Q, C] of one of HEADS."""
        return {"contrastive": self.contrastive, "iou": self.iou}[head]
