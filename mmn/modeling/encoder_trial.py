"""Trying whether a text encoder computes the same from another form of its input, on sentences that show a difference."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4

LONGEST = 64
"""Tokens of the longest sentence that is tried. Local attention may be wider, which another mask would not keep."""

FIRST_POSITIONS = 2
"""Positions that encoders of RoBERTa's kind leave unused."""


def longest_tried(encoder: nn.Module) -> int:
    """Tokens of the longest sentence that an encoder is tried on, and that a trial's result is about."""
    positions = getattr(getattr(encoder, "config", None), "max_position_embeddings", None)
    return min(LONGEST, positions - FIRST_POSITIONS) if positions and positions > FIRST_POSITIONS else LONGEST


def trial_sentences(encoder: nn.Module, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Tokens and mask [U, L] int64 of sentences of different tokens.

    Of equal tokens attention has the same mean wherever it looks, so that they would hide what it looks at.
    """
    words = encoder.get_input_embeddings()
    tokens = torch.arange(len(lengths) * max(lengths), device=words.weight.device) % words.num_embeddings
    token_mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return tokens.view(len(lengths), -1), token_mask.to(tokens.device)


@torch.no_grad()
def computes_same(encoder: nn.Module, lengths: Sequence[int], last_states: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Tell whether another way to compute an encoder's last hidden states gives what the encoder does by sentence.

    Args:
        lengths: tokens of the sentences to try it on.
        last_states: tokens, token_mask [U, L] int64 -> [U, L, H], of which those of real tokens count.
    """
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        tokens, token_mask = trial_sentences(encoder, lengths)
        real = token_mask.bool()
        by_sentence = encoder(input_ids=tokens, attention_mask=token_mask).last_hidden_state[real]
        return torch.allclose(by_sentence, last_states(tokens, token_mask)[real], atol=TOLERANCE)
    except Exception:  # each kind of encoder refuses another form with its own
        return False
    finally:
        for module, mode in modes:
            module.training = mode
