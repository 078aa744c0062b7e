"""Signs in a training log that a round went wrong, each in words with its numbers: pure functions on its lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Line = dict[str, Any]

_FLAT_WITHIN = 0.01
_NATS_FALLEN = 1.0
_DPO = {"sigmoid": 1.0}


def find_alarms(
    steps: Sequence[Line], beta: float, *, losses: Mapping[str, float] | None = None, soft_labels: bool = False
) -> list[dict[str, str]]:
    """Every alarm that a log of optimizer steps gives rise to.

    Args:
        steps: the log's lines of optimizer steps, in order, with TRL's keys.
        beta: the beta they were made with.
        losses: the terms of their loss with their weights; DPO's own where it is left out.
        soft_labels: whether labels were probabilities.

    Returns:
        Mappings with `name` and `message`; none for a healthy log.
    """
    if not steps:
        return []
    losses = losses or _DPO
    plain = dict(losses) == _DPO and not soft_labels
    # apo_down lowers the chosen answers on purpose, the rejected ones more.
    falls = None if "apo_down" in losses else _chosen_falls(steps, beta)
    found = (_loss_flat(steps) if plain else _margins_flat(steps), _perfect_early(steps), falls)
    return [alarm for alarm in found if alarm]


def last_tenth(steps: Sequence[Line]) -> Sequence[Line]:
    """The last tenth of the steps, at least one."""
    return steps[-max(1, len(steps) // 10) :]


def mean(steps: Sequence[Line], key: str) -> float:
    """Mean of one figure over the steps."""
    return sum(float(step[key]) for step in steps) / len(steps)


def _loss_flat(steps: Sequence[Line]) -> dict[str, str] | None:
    loss = mean(last_tenth(steps), "loss")
    if abs(loss - math.log(2)) >= _FLAT_WITHIN:
        return None
    return _alarm(
        "loss_flat",
        f"the loss is {loss:.4f} over the last tenth of {len(steps)} steps, flat at ln 2 = 0.6931: the policy did not "
        "learn to tell chosen from rejected. Raise train.learning_rate or the number of pairs.",
    )


def _margins_flat(steps: Sequence[Line]) -> dict[str, str] | None:
    """Where the loss does not begin at ln 2 (another loss, other terms beside it) or may stay there (soft labels)."""
    margin = mean(last_tenth(steps), "rewards/margins")
    # For a small margin m DPO's loss is ln 2 - m / 2.
    if abs(margin) / 2 >= _FLAT_WITHIN:
        return None
    return _alarm(
        "loss_flat",
        f"rewards/margins is {margin:.4f} over the last tenth of {len(steps)} steps, as flat as at the start: the "
        "policy did not learn to tell chosen from rejected. Raise train.learning_rate or the number of pairs.",
    )


def _perfect_early(steps: Sequence[Line]) -> dict[str, str] | None:
    # The first step is the reference's own, where the sign of a tiny margin is luck. Two in a row after it: one small
    # batch may be all right by luck too.
    early = [step["rewards/accuracies"] == 1.0 for step in steps[1 : len(steps) // 10]]
    by = next((index + 3 for index, pair in enumerate(pairwise(early)) if all(pair)), None)
    if by is None:
        return None
    return _alarm(
        "perfect_early",
        f"rewards/accuracies is 1.0 twice running by step {by} of {len(steps)}: chosen and rejected may differ by a "
        "give-away (length, a set phrase). Look at the pairs, or lower train.learning_rate.",
    )


def _chosen_falls(steps: Sequence[Line], beta: float) -> dict[str, str] | None:
    # Rewards are relative to each pair's own reference, so steps of different pairs compare.
    fallen = (float(steps[0]["rewards/chosen"]) - mean(last_tenth(steps), "rewards/chosen")) / beta
    if len(steps) < 2 or fallen <= _NATS_FALLEN:
        return None
    return _alarm(
        "chosen_falls",
        f"the log-probability of the chosen answers fell by {fallen:.1f} nats: the policy moves away from both sides "
        "of the pairs. Lower train.learning_rate, raise train.beta, or train fewer epochs.",
    )


def _alarm(name: str, message: str) -> dict[str, str]:
    return {"name": name, "message": message}
