"""Tokens -> one vector per sentence in each of the two joint spaces."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from mmn.modeling.packed_linear import pack_linears
from mmn.utils.pretrained import load_pretrained


class TextEncoder(nn.Module):
    """A Hugging Face encoder, mean over its tokens, LayerNorm and a linear projection per head (SPEC section 2).

    Args:
        bert: any encoder whose output has `last_hidden_state` [S, L, hidden_size].
        hidden_size: width of the encoder.
        joint_space_size: C.
    """

    def __init__(self, bert: nn.Module, hidden_size: int, joint_space_size: int):
        super().__init__()
        # The names and their order are those of the released weights: fc_out1 is IoU, fc_out2 contrastive.
        self.bert = bert
        self.fc_out1 = nn.Linear(hidden_size, joint_space_size)
        self.fc_out2 = nn.Linear(hidden_size, joint_space_size)
        self.layernorm = nn.LayerNorm(hidden_size)

    def forward(self, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        """tokens, token_mask [U, L] int64 -> sentence features (contrastive, iou), each [U, C]."""
        mean = self.layernorm(self.mean_hidden_state(tokens, token_mask))
        return self.fc_out2(mean), self.fc_out1(mean)

    def mean_hidden_state(self, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """The mean of the last hidden states over the real tokens, [CLS] and [SEP] included -> [U, hidden_size].

        A GPU gets all sentences in one forward. A CPU pays for every padded token, so there sentences of like length
        share a forward of their own (`length_groups`).
        """
        if tokens.device.type != "cpu":
            return self._mean_of_group(tokens, token_mask)
        lengths = token_mask.sum(dim=1)
        groups = length_groups(lengths.tolist())
        if len(groups) == 1:
            return self._mean_of_group(tokens, token_mask)
        means = []
        for rows in groups:
            width = int(lengths[rows].max())
            means.append(self._mean_of_group(tokens[rows, :width], token_mask[rows, :width]))
        order = torch.tensor([row for rows in groups for row in rows])
        return torch.cat(means)[order.argsort()]

    def _mean_of_group(self, tokens: Tensor, token_mask: Tensor) -> Tensor:
        hidden = self.bert(input_ids=tokens, attention_mask=token_mask).last_hidden_state
        weight = token_mask.to(hidden.dtype)[..., None]
        return (hidden * weight).sum(dim=1) / weight.sum(dim=1)


# What one more forward costs on a CPU, in tokens: mostly reading the encoder's weights once more.
FORWARD_OVERHEAD_TOKENS = 32


def length_groups(lengths: Sequence[int]) -> list[list[int]]:
    """Sentences in groups that are padded together: the grouping with the fewest padded tokens plus forward overheads.

    Args:
        lengths: tokens of each sentence.
    Returns:
        the numbers of the sentences of each group, shortest group first.

    >>> length_groups([40, 5, 38, 6] + [5] * 20)
    [[1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23], [0, 2]]
    """
    distinct = sorted(set(lengths))
    counts = Counter(lengths)
    best: list[tuple[int, int]] = [(0, 0)]  # cost of grouping the first lengths, and where its last group begins
    for stop in range(1, len(distinct) + 1):
        costs, sentences = [], 0
        for start in range(stop - 1, -1, -1):
            sentences += counts[distinct[start]]
            costs.append((best[start][0] + sentences * distinct[stop - 1] + FORWARD_OVERHEAD_TOKENS, start))
        best.append(min(costs))
    bounds, stop = [], len(distinct)
    while stop:
        bounds.append((best[stop][1], stop))
        stop = best[stop][1]
    group_of = {distinct[place]: group for group, pair in enumerate(reversed(bounds)) for place in range(*pair)}
    groups: list[list[int]] = [[] for _ in bounds]
    for number, length in enumerate(lengths):
        groups[group_of[length]].append(number)
    return groups


def load_encoder(pretrained: str, with_weights: bool) -> tuple[nn.Module, int]:
    """The encoder and its hidden size.

    Args:
        pretrained: hub name or local folder.
        with_weights: False builds it from its config alone, for a checkpoint that brings the weights.
    Its linear layers are packed ones: the same parameters, faster in inference on a CPU.
    """
    config = load_pretrained(AutoConfig, pretrained)
    # float32 whatever the file holds: the optimizer's steps are too small for less.
    if with_weights:
        encoder = load_pretrained(AutoModel, pretrained, dtype=torch.float32)
    else:
        encoder = AutoModel.from_config(config).float()
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # BERT's own head over [CLS]: it would be a parameter without a gradient
    return pack_linears(encoder), config.hidden_size
