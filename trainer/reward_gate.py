"""Leaves out pairs by what a reward model said of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from records.errors import DataError
from records.store import read_rows
from trainer.config import RewardGate
from trainer.data import PairSet

_SHOWN = 5


def apply_gate(pairs: PairSet, gate: RewardGate, rewards: Path) -> PairSet:
    """The pairs without those to train on that the gate leaves out, which are listed as `low_reward`.

    Args:
        pairs: what a round would train on; validation pairs stay, whatever their reward.
        gate: which stay.
        rewards: folder of the rows of stage reward (records/rewards.py), about these pairs.

    Raises:
        DataError: pairs without a reward, or none would be left.
    """
    margins = {row["id"]: float(row["margin"]) for row in read_rows(rewards)}
    without = [pair.id for pair in pairs.train if pair.id not in margins]
    if without:
        shown = ", ".join(without[:_SHOWN]) + (f" and {len(without) - _SHOWN} more" if len(without) > _SHOWN else "")
        raise DataError(
            f"{rewards}: no reward for {len(without)} of {len(pairs.train)} pairs ({shown}); expected one for each. "
            "Do stage reward of this round anew (--redo reward@ROUND), or leave out train.reward_gate."
        )
    out = left_out([pair.id for pair in pairs.train], margins, gate)
    kept = tuple(pair for pair in pairs.train if pair.id not in out)
    if not kept:
        raise DataError(
            f"{rewards}: train.reward_gate leaves none of {len(pairs.train)} pairs: the largest margin is "
            f"{max(margins[pair.id] for pair in pairs.train):.3g}. Lower least_margin."
        )
    return replace(pairs, train=kept, low_reward=tuple(pair.id for pair in pairs.train if pair.id in out))


def left_out(ids: Sequence[str], margins: dict[str, float], gate: RewardGate) -> set[str]:
    """The ids that the gate leaves out; of equal margins the smaller id stays."""
    if gate.least_margin is not None:
        return {id for id in ids if margins[id] < gate.least_margin}
    assert gate.keep_share is not None
    # A share of 0.8 of 5 is 4, though 0.8 * 5 may come out a little above it.
    keep = math.ceil(round(gate.keep_share * len(ids), 6))
    return set(sorted(ids, key=lambda id: (-margins[id], id))[keep:])
