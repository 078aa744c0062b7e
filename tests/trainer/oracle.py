"""What DPO is by definition, from raw logits in plain torch: one sequence at a time, no padding, no masks, no TRL."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from trainer.data import EncodedPair


def load_policy(model: Path, adapter: Path | None):
    """The model, with an adapter read from its files."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    return PeftModel.from_pretrained(base, str(adapter)).eval() if adapter else base


def token_logps(policy, prompt: list[int], answer: list[int]) -> list[float]:
    """Log-probability of each answer token given all before it."""
    ids = prompt + answer
    with torch.no_grad():
        logps = policy(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(dim=-1)
    return [logps[position - 1, ids[position]].item() for position in range(len(prompt), len(ids))]


def answer_logps(policy, pair: EncodedPair) -> tuple[float, float]:
    """Summed log-probability of the chosen and the rejected answer."""
    chosen = sum(token_logps(policy, pair.prompt_ids, pair.chosen_ids))
    return chosen, sum(token_logps(policy, pair.prompt_ids, pair.rejected_ids))


def dpo_loss(policy: tuple[float, float], reference: tuple[float, float], beta: float) -> float:
    """Rafailov et al. 2023 (arXiv:2305.18290), eq. 7, for one pair of (chosen, rejected) log-probabilities."""
    margin = beta * ((policy[0] - reference[0]) - (policy[1] - reference[1]))
    return -math.log(1 / (1 + math.exp(-margin)))
