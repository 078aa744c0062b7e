"""Log-probabilities of answers under a named policy, with the very kernels that training uses.

The reference's figures are computed once, before training, and supplied as columns, so which policy is the reference
is decided here and nowhere else. An engine's figures differ by up to 0.3 nats a token and are never used for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import use_adapter

from trainer.answer_sums import answer_sums
from trainer.data import EncodedPair
from trainer.micro_batches import Room, lengths_of


def collator_for(tokenizer: Any) -> DataCollatorForPreference:
    """Pads a batch of pairs; chosen answers come first, then the rejected ones, prompts with each.

    What is padding follows from lengths, never from the id, so a pad token that is also EOS (or no pad token) leaves
    the answers' own EOS in the loss. Without `max_length` nothing is cut.
    """
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return DataCollatorForPreference(pad_token_id=next(id for id in ids if id is not None), max_length=None)


def columns(pair: EncodedPair) -> dict[str, Any]:
    """A pair as the row that TRL's collator takes."""
    return {
        "id": pair.id,
        "prompt_ids": pair.prompt_ids,
        "chosen_ids": pair.chosen_ids,
        "rejected_ids": pair.rejected_ids,
        "probability": pair.label_probability,
    }


def token_logps(trainer: Any, batch: dict[str, Any], policy: str | None) -> Any:
    """Per-token log-probabilities in nats under one adapter, or under the base (None).

    Args:
        trainer: the TRL trainer whose model, head and precision are used.
        batch: B pairs from the collator, as 2B sequences of T tokens.
        policy: name of a loaded adapter.

    Returns:
        Shape (2B, T-1), float32 on the CPU; entry t is log p(token t+1 | tokens up to t), 0 outside the answers.
    """
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model)
    device = next(model.parameters()).device
    ids, attention, answers = (batch[key].to(device) for key in ("input_ids", "attention_mask", "completion_mask"))
    labels = ids.masked_fill(answers == 0, -100)
    with torch.no_grad(), trainer.accelerator.autocast(), use_adapter(model, policy):
        found = model(input_ids=ids, attention_mask=attention, labels=labels, use_cache=False, fused_lm_head=True)
    return found.log_probs.float().cpu()


def batches(
    trainer: Any, pairs: Sequence[EncodedPair], room: Room | None = None
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Padded batches for passes without gradients, with the pairs' positions.

    The longest pairs come first, so memory runs out at once or never; `room` is by default what such passes have.
    """
    rows = [columns(pair) for pair in pairs]
    room = room or trainer.room.without_gradients
    for batch in room.cut([trainer.head.places(lengths_of(row)) for row in rows]):
        yield batch, trainer.data_collator([rows[index] for index in batch])


def reference_logps(trainer: Any, pairs: Sequence[EncodedPair], policy: str | None) -> list[tuple[float, float]]:
    """Log-probability of the chosen and of the rejected answer of each pair, in the pairs' order.

    They are summed as the loss sums those of the policy.

    Args:
        trainer: see `token_logps`; put in evaluation mode.
        pairs: what to score.
        policy: name of a loaded adapter, None for the base.
    """
    trainer.model.eval()
    found: list[tuple[float, float]] = [(0.0, 0.0)] * len(pairs)
    for chunk, batch in batches(trainer, pairs):
        sums = answer_sums(token_logps(trainer, batch, policy), batch["completion_mask"], trainer.ld_alpha)
        chosen, rejected = sums.chunk(2)
        for index, logps in zip(chunk, zip(chosen.tolist(), rejected.tolist(), strict=True), strict=True):
            found[index] = logps
    return found
