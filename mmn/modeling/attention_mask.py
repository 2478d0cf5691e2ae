"""Masks of a text encoder on a GPU that need no look at their values.

Given a mask of tokens, [U, L], transformers asks in every forward whether all of it is True, to leave it out, and the
host waits for the answer. A mask of pairs of tokens, [U, 1, L, L], is used as it is.
"""

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4


def mask_of_pairs(token_mask: Tensor) -> Tensor:
    """The pairs of tokens that look at each other: [U, L] int64, 1 at real tokens -> [U, 1, L, L] bool."""
    return token_mask.bool()[:, None, None, :].expand(-1, -1, token_mask.shape[1], -1)


@torch.no_grad()
def takes_mask_of_pairs(encoder: nn.Module) -> bool:
    """Tell, by trying both on two sentences, whether an encoder computes from a mask of pairs what it does from tokens."""
    device = next(encoder.parameters()).device
    tokens = torch.ones(2, 4, dtype=torch.int64, device=device)
    token_mask = torch.ones_like(tokens).tril(2)  # the first sentence has a padded token
    was_training = encoder.training
    encoder.eval()
    try:
        states = [
            encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
            for mask in (token_mask, mask_of_pairs(token_mask))
        ]
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):  # each kind of encoder has its own
        return False
    finally:
        encoder.train(was_training)
    real = token_mask.bool()
    return torch.allclose(states[0][real], states[1][real], atol=TOLERANCE)
