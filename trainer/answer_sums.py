"""From log-probabilities of tokens to those of answers, in the one way that a loss wants them."""

from __future__ import annotations

from typing import Any


def answer_sums(token_logps: Any, answers: Any, ld_alpha: float | None) -> Any:
    """Log-probability of each answer in nats, shape (2B,): a plain sum, or with the longer one's end desensitised.

    Args:
        token_logps: shape (2B, T-1), chosen answers first; entry t is that of token t+1, 0 outside the answers.
        answers: shape (2B, T), 1 on answer tokens.
        ld_alpha: what a token beyond the length of the pair's shorter answer counts; None counts all as 1.

    Source: LD-DPO, Liu et al. 2024, arXiv:2409.06411.
    """
    import torch

    if ld_alpha is None:
        return token_logps.sum(dim=1)
    inside = answers[:, 1:]
    place, length = inside.cumsum(dim=1), inside.sum(dim=1)
    shorter = torch.minimum(*length.chunk(2)).repeat(2)
    beyond = place > shorter.unsqueeze(1)
    return (token_logps * torch.where(beyond, ld_alpha, 1.0)).sum(dim=1)
