"""Vectors of sentences that come again: in Charades-STA's test split every fourth sentence was said of another video."""

from collections.abc import Callable

import torch
from torch import Tensor

MOST_SENTENCES = 10_000
"""Sentences whose vectors are kept, 30 MB of them at the width of BERT."""


class SentenceMemo:
    """Vectors of the first sentences of a split, by their tokens, for as long as the encoder stays as it is."""

    def __init__(self) -> None:
        self.vectors: dict[bytes, Tensor] = {}

    def __call__(self, encode: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, token_mask: Tensor) -> Tensor:
        """`encode(tokens, token_mask)`, of the sentences that are new; no gradient reaches the others.

        Args:
            encode: tokens, token_mask [U, L] int64 -> [U, X], each row of its own sentence alone.
        """
        lengths = token_mask.sum(dim=1).tolist()
        keys = [row[:length].tobytes() for row, length in zip(tokens.numpy(), lengths, strict=True)]
        new = [row for row, key in enumerate(keys) if key not in self.vectors]
        if len(new) == len(keys):
            vectors = encode(tokens, token_mask)
        else:
            width = max((lengths[row] for row in new), default=0)
            encoded = iter(encode(tokens[new, :width], token_mask[new, :width]) if new else ())
            vectors = torch.stack([self.vectors[key] if key in self.vectors else next(encoded) for key in keys])
        for row in new[: MOST_SENTENCES - len(self.vectors)]:
            self.vectors[keys[row]] = vectors[row].clone()
        return vectors
