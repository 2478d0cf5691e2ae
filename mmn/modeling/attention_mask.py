"""Masks of a text encoder on a GPU that need no look at their values.

Given a mask of tokens, [U, L], transformers asks in every forward whether all of it is True, to leave it out, and the
host waits for the answer. A mask of pairs of tokens, [U, 1, L, L], is used as it is.
"""

from torch import Tensor, nn

from mmn.modeling.encoder_trial import computes_same, longest_tried


def mask_of_pairs(token_mask: Tensor) -> Tensor:
    """The pairs of tokens that look at each other: [U, L] int64, 1 at real tokens -> [U, 1, L, L] bool."""
    return token_mask.bool()[:, None, None, :].expand(-1, -1, token_mask.shape[1], -1)


def takes_mask_of_pairs(encoder: nn.Module) -> bool:
    """Tell, by trying both on two sentences, whether an encoder computes from a mask of pairs what it does from tokens.

    This holds for sentences of up to `longest_tried` tokens.
    """

    def by_pairs(tokens: Tensor, token_mask: Tensor) -> Tensor:
        return encoder(input_ids=tokens, attention_mask=mask_of_pairs(token_mask)).last_hidden_state

    longest = longest_tried(encoder)
    return computes_same(encoder, [longest, -(-longest // 2)], by_pairs)
