"""Several sentences in one row of a text encoder's batch, which then has next to no padded tokens.

A CPU pays for every padded token, and its products are the faster the more tokens share them. Tokens of a row look at
those of their own sentence alone, by a mask of pairs, and count their positions from its beginning.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmn.modeling.encoder_trial import LONGEST, computes_same, longest_tried
from mmn.modeling.fast.packed_linear import FEW_ROWS

ATTENTION_PER_TOKEN = 1 / 1000
"""Cost of a row's attention per token that a token could look at, in tokens of the linear layers."""


class SentenceRows(NamedTuple):
    """Rows of sentences, one after the other.

    Attributes:
        sentence: [R, W] int64, number of the sentence of each token, -1 where a row is padded.
        position: [R, W] int64, place of each token in its sentence, 0 where a row is padded.
    """

    sentence: Tensor
    position: Tensor

    @property
    def pairs(self) -> Tensor:
        """The pairs of tokens that look at each other, [R, 1, W, W] bool. Padding looks at padding."""
        return (self.sentence[:, :, None] == self.sentence[:, None, :])[:, None]

    def take(self, by_sentence: Tensor) -> Tensor:
        """Tokens [U, L] -> [R, W], 0 where a row is padded."""
        taken = by_sentence[self.sentence.clamp(min=0), self.position]
        return taken * (self.sentence >= 0)

    def give_back(self, states: Tensor, count: int, length: int) -> Tensor:
        """States of the tokens in rows [R, W, H] -> of `count` sentences [U, L, H]; after a sentence's end any token's."""
        real = self.sentence >= 0
        places = self.sentence.new_zeros(count, length)
        places[self.sentence[real], self.position[real]] = real.flatten().nonzero().flatten()
        return states.flatten(0, 1)[places]


def encode_in_rows(encoder: nn.Module, tokens: Tensor, token_mask: Tensor) -> Tensor:
    """Last hidden states of sentences, each by its own tokens alone.

    Args:
        encoder: one that `takes_rows`.
        tokens, token_mask: [U, L] int64, real tokens first, L at most `longest_tried`.
    Returns:
        [U, L, H]; after a sentence's end they mean nothing.
    """
    lengths = token_mask.sum(dim=1).tolist()
    rows = choose_rows(lengths, longest_tried(encoder))
    if len(rows) == len(lengths):  # nothing shares a row
        return encoder(input_ids=tokens, attention_mask=token_mask).last_hidden_state
    return _states_in_rows(encoder, lay_out(rows, lengths), tokens, token_mask)


def lay_out(rows: Sequence[Sequence[int]], lengths: Sequence[int]) -> SentenceRows:
    """The tokens of the sentences that each row holds, in rows as wide as the longest."""
    width = max(sum(lengths[number] for number in row) for row in rows)
    sentence = torch.full((len(rows), width), -1)
    position = torch.zeros(len(rows), width, dtype=torch.int64)
    for place, row in enumerate(rows):
        numbers = torch.tensor(row)
        counts = torch.tensor([lengths[number] for number in row])
        filled = int(counts.sum())
        sentence[place, :filled] = numbers.repeat_interleave(counts)
        position[place, :filled] = torch.arange(filled) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return SentenceRows(sentence, position)


def choose_rows(lengths: Sequence[int], most: int = LONGEST) -> list[list[int]]:
    """Sentences in rows: of several widths the one with the fewest padded tokens and the least attention.

    Args:
        lengths: tokens of each sentence.
        most: tokens of a row where no sentence is longer.
    Returns:
        the numbers of the sentences of each row.

    >>> choose_rows([9, 4, 5, 4, 5])
    [[0], [2, 1], [4, 3]]
    """
    longest, total = max(lengths), sum(lengths)
    widths = sorted(
        {longest, *(longest + step for step in (2, 4, 8, 12, 16, 24, 32)), *range(2 * longest, most + 1, 8)}
    )
    options = [fill_rows(lengths, width) for width in widths if width <= max(longest, min(total, most))]

    def cost(rows: list[list[int]]) -> float:
        width = max(sum(lengths[number] for number in row) for row in rows)
        return len(rows) * width * (1 + width * ATTENTION_PER_TOKEN)

    return min(options, key=cost)


def fill_rows(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Sentences, the longest first, each in the first row of `width` tokens that has room for it."""
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        place = next((place for place, free in enumerate(room) if free >= lengths[number]), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(width)
        rows[place].append(number)
        room[place] -= lengths[number]
    return rows


def takes_rows(encoder: nn.Module) -> bool:
    """Tell, by trying both on some sentences, whether an encoder computes in rows what it does by sentence.

    This holds for sentences and rows of up to `longest_tried` tokens.
    """
    longest = longest_tried(encoder)
    # So many that no layer takes them for a query, for which it would pack its weights.
    copies = -(-FEW_ROWS // (2 * longest))
    lengths = [longest, 1, max(1, longest - 1)] * copies
    rows = [row for first in range(0, len(lengths), 3) for row in ([first], [first + 2, first + 1])]
    layout = lay_out(rows, lengths)
    return computes_same(encoder, lengths, functools.partial(_states_in_rows, encoder, layout))


def _states_in_rows(encoder: nn.Module, layout: SentenceRows, tokens: Tensor, token_mask: Tensor) -> Tensor:
    """The last hidden states [U, L, H] of sentences that are laid out in rows."""
    states = encoder(
        input_ids=layout.take(tokens), attention_mask=layout.pairs, position_ids=layout.position
    ).last_hidden_state
    return layout.give_back(states, *tokens.shape)
