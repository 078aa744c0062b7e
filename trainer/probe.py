"""The trainer's half of a proven hand-off: what the new policy and the one before it give to the same tokens.

An engine that claims to serve the new adapter scores these sequences; its figures must lie nearer to `new` than to
`previous`. Sequences on which the two policies differ most come first, since those can tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.adapter import TRAINED
from trainer.data import EncodedPair

NOT_IN_LOSS = -100
LEAST_TOKENS = 768
_CANDIDATE_TOKENS = 4 * LEAST_TOKENS


def probe_sequences(trainer: Any, pairs: Sequence[EncodedPair], previous: str | None) -> list[dict[str, Any]]:
    """Whole sequences with their answers' log-probabilities under two policies, until `LEAST_TOKENS` answer tokens.

    Args:
        trainer: holds the trained model.
        pairs: candidates, the preferred ones first; both sides of each are used.
        previous: name of the earlier policy's adapter, None for the base.

    Returns:
        Mappings with `token_ids`, `first` (index of the first scored token), and `new` and `previous`, one
        log-probability in nats for each token from `first` on.
    """
    from trainer.reference import batches, token_logps

    trainer.model.eval()
    candidates = _candidates(pairs)
    found: list[dict[str, Any]] = []
    for chunk, batch in batches(trainer, candidates):
        new, old = (token_logps(trainer, batch, policy) for policy in (TRAINED, previous))
        for row in range(2 * len(chunk)):
            pair = candidates[chunk[row % len(chunk)]]
            answer = pair.chosen_ids if row < len(chunk) else pair.rejected_ids
            first = len(pair.prompt_ids)
            scored = slice(first - 1, first - 1 + len(answer))
            found.append(
                {
                    "token_ids": pair.prompt_ids + answer,
                    "first": first,
                    "new": new[row, scored].tolist(),
                    "previous": old[row, scored].tolist(),
                }
            )
    found.sort(key=_distance, reverse=True)
    return _until_enough(found)


def probe_rows(model: Any, rows: Sequence[dict[str, Any]], previous: str | None = None) -> list[dict[str, Any]]:
    """The same for rows with labels.

    Args:
        model: holds the trained adapter.
        rows: candidates, with `input_ids` and `labels`, -100 before the answer.
        previous: name of the earlier policy's adapter, None for the base.
    """
    from trl.trainer.utils import use_adapter

    model.eval()
    found, tokens = [], 0
    for row in rows:
        first = max(1, next(place for place, label in enumerate(row["labels"]) if label != NOT_IN_LOSS))
        with use_adapter(model, TRAINED):
            new = _answer_logps(model, row["input_ids"], first)
        with use_adapter(model, previous):
            old = _answer_logps(model, row["input_ids"], first)
        found.append({"token_ids": row["input_ids"], "first": first, "new": new, "previous": old})
        tokens += len(new)
        if tokens >= _CANDIDATE_TOKENS:
            break
    found.sort(key=_distance, reverse=True)
    return _until_enough(found)


def _answer_logps(model: Any, ids: list[int], first: int) -> list[float]:
    import torch

    tokens = torch.tensor([ids], device=next(model.parameters()).device)
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits[0, first - 1 : -1].float()
    return logits.log_softmax(-1).gather(-1, tokens[0, first:, None]).squeeze(-1).tolist()


def _candidates(pairs: Sequence[EncodedPair]) -> Sequence[EncodedPair]:
    tokens = 0
    for count, pair in enumerate(pairs, 1):
        tokens += len(pair.chosen_ids) + len(pair.rejected_ids)
        if tokens >= _CANDIDATE_TOKENS:
            return pairs[:count]
    return pairs


def _distance(sequence: dict[str, Any]) -> float:
    gaps = [abs(new - old) for new, old in zip(sequence["new"], sequence["previous"], strict=True)]
    return sum(gaps) / len(gaps)


def _until_enough(sequences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tokens = 0
    for count, sequence in enumerate(sequences, 1):
        tokens += len(sequence["new"])
        if tokens >= LEAST_TOKENS:
            return sequences[:count]
    return sequences
