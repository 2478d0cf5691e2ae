"""Sentences of like length in a forward of their own: a CPU pays for every padded token."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# What one more forward costs on a CPU, in tokens: mostly reading the encoder's weights once more.
FORWARD_OVERHEAD_TOKENS = 32


def encode_in_groups(encode: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, token_mask: Tensor) -> Tensor:
    """`encode(tokens, token_mask)`, in the groups of `length_groups` on a CPU; a GPU gets all sentences in one forward.

    Args:
        encode: tokens, token_mask [U, L] int64 -> [U, X], each row of its own sentence alone.
        tokens, token_mask: [U, L] int64, real tokens first.
    Returns:
        [U, X]
    """
    if tokens.device.type != "cpu":
        return encode(tokens, token_mask)
    lengths = token_mask.sum(dim=1)
    groups = length_groups(lengths.tolist())
    if len(groups) == 1:
        return encode(tokens, token_mask)
    encoded = []
    for rows in groups:
        width = int(lengths[rows].max())
        encoded.append(encode(tokens[rows, :width], token_mask[rows, :width]))
    order = torch.tensor([row for rows in groups for row in rows])
    return torch.cat(encoded)[order.argsort()]


def length_groups(lengths: Sequence[int]) -> list[list[int]]:
    """Sentences in groups that are padded together: the grouping with the fewest padded tokens plus forward overheads.

    A group is a range of lengths, so where the ranges are cut is found by dynamic programming over the distinct lengths.

    Args:
        lengths: tokens of each sentence.
    Returns:
        the numbers of the sentences of each group, shortest group first.

    >>> length_groups([40, 5, 38, 6] + [5] * 20)
    [[1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23], [0, 2]]
    """
    by_length = sorted(Counter(lengths).items())  # (length, how many sentences have it)
    # cheapest[n] of the n shortest lengths: what they cost at least, and how many of them lie before the last group.
    cheapest = [(0, 0)]
    for stop in range(1, len(by_length) + 1):
        longest, num_sentences, options = by_length[stop - 1][0], 0, []
        for start in reversed(range(stop)):  # the last group has the lengths from number `start` on
            num_sentences += by_length[start][1]
            options.append((cheapest[start][0] + num_sentences * longest + FORWARD_OVERHEAD_TOKENS, start))
        cheapest.append(min(options))
    widths, stop = [], len(by_length)
    while stop:  # from the last group back to the first
        widths.append(by_length[stop - 1][0])
        stop = cheapest[stop][1]
    widths.reverse()
    groups: list[list[int]] = [[] for _ in widths]
    for number, length in enumerate(lengths):
        groups[bisect_left(widths, length)].append(number)
    return groups
