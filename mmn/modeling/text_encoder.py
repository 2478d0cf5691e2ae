"""Tokens -> one vector per sentence in each of the two joint spaces."""

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

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
        """tokens, token_mask [S, L] int64 -> sentence features (contrastive, iou), each [S, C]."""
        hidden = self.bert(input_ids=tokens, attention_mask=token_mask).last_hidden_state
        weight = token_mask.to(hidden.dtype)[..., None]  # [CLS] and [SEP] count as tokens
        mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
        mean = self.layernorm(mean)
        return self.fc_out2(mean), self.fc_out1(mean)


def load_encoder(pretrained: str, with_weights: bool) -> tuple[nn.Module, int]:
    """The encoder and its hidden size.

    Args:
        pretrained: hub name or local folder.
        with_weights: False builds it from its config alone, for a checkpoint that brings the weights.
    """
    config = load_pretrained(AutoConfig, pretrained)
    # float32 whatever the file holds: the optimizer's steps are too small for less.
    if with_weights:
        encoder = load_pretrained(AutoModel, pretrained, dtype=torch.float32)
    else:
        encoder = AutoModel.from_config(config).float()
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # BERT's own head over [CLS]: it would be a parameter without a gradient
    return encoder, config.hidden_size
