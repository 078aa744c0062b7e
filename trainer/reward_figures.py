"""What a reward model came to, from its rows of rewards: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from records.intervals import rate_by_prompt
from records.rewards import RewardRow
from trainer.data import PairSet


def reward_figures(rows: Sequence[RewardRow], pairs: PairSet) -> dict[str, Any]:
    """Accuracy and margin on validation pairs, and on training pairs by models that had not seen them.

    Returns:
        For `validation`, `unseen` and `seen`, where there are such pairs: `<name>_accuracy` (the share of pairs whose
        chosen answer has the higher reward, ties half), `<name>_accuracy_ci` (95 %, the prompt is the unit) and
        `<name>_margin`, the mean margin.
    """
    prompt_of = {pair.id: str(pair.prompt_ids) for pair in (*pairs.train, *pairs.validation)}
    found: dict[str, list[RewardRow]] = {}
    for row in rows:
        name = "validation" if row.split == "validation" else "seen" if row.seen else "unseen"
        found.setdefault(name, []).append(row)
    return {key: value for name, of in found.items() for key, value in _figures(name, of, prompt_of).items()}


def _figures(name: str, rows: Sequence[RewardRow], prompt_of: Mapping[str, str]) -> dict[str, Any]:
    right: dict[str, list[float]] = {}
    for row in rows:
        right.setdefault(prompt_of[row.id], []).append(0.5 * ((row.margin > 0) + (row.margin >= 0)))
    accuracy = rate_by_prompt(right)
    assert accuracy.rate is not None and accuracy.interval is not None
    return {
        f"{name}_accuracy": round(accuracy.rate, 4),
        f"{name}_accuracy_ci": [round(bound, 4) for bound in accuracy.interval],
        f"{name}_margin": sum(row.margin for row in rows) / len(rows),
    }


def reward_alarms(figures: Mapping[str, Any]) -> list[dict[str, str]]:
    """A warning where the model cannot be told from chance on pairs that it was not trained on."""
    name = next((name for name in ("validation", "unseen") if f"{name}_accuracy" in figures), None)
    if name is None:
        return []
    low, high = figures[f"{name}_accuracy_ci"]
    if low > 0.5:
        return []
    return [
        {
            "name": "reward_chance",
            "message": f"the reward model prefers the chosen answer in {figures[f'{name}_accuracy']:.0%} of the "
            f"{name} pairs ({low:.0%} to {high:.0%}): no better than chance, and so would a gate by it be. Make more "
            "pairs, or raise reward.learning_rate or reward.epochs.",
        }
    ]
