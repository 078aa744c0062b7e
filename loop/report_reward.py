"""What report.md tells of reward models, and of what else than the principles could tell chosen from rejected."""

from __future__ import annotations

from typing import Any

from loop.rounds_table import with_interval
from records.markdown import bullets, table

_SHORTCUTS = (
    ("length_auc", "longer"),
    ("words_auc", "by words"),
    ("base_logp_auc", "likelier under base"),
    ("policy_logp_auc", "likelier under policy"),
    ("base_over_policy_auc", "more like base than policy"),
    ("chosen_refused_rate", "chosen refuse"),
    ("rejected_refused_rate", "rejected refuse"),
)


def told_of_pairs(report: dict[str, Any]) -> list[str]:
    """Both sections, where there is anything to tell."""
    return [*_rewards(report), *_shortcuts(report)]


def _shortcuts(report: dict[str, Any]) -> list[str]:
    """A row for each training whose pairs were looked at before it began."""
    entries = [entry for entry in report["rounds"] if entry.get("training", {}).get("shortcuts")]
    if not entries:
        return []
    figures = {entry["round"]: entry["training"]["shortcuts"] for entry in entries}
    names = [(name, words) for name, words in _SHORTCUTS if any(name in found for found in figures.values())]
    rows = [
        [str(index), str(found["pairs"]), *(with_interval(found, name) for name, _ in names), f"{found['seconds']:.1f}"]
        for index, found in figures.items()
    ]
    note = (
        "Looked at before training: in how many pairs the chosen answer is the longer one, the one that its words "
        "point to (fitted on other prompts), or the likelier one by token. 50 % tells nothing, 0 % as much as 100 %. "
        "Then how many answers refuse, by set phrases of English. Brackets hold 95 % intervals with the prompt as the "
        "unit."
    )
    header = ["round", "pairs", *(words for _, words in names), "seconds"]
    return ["## What else tells chosen from rejected", note, table(header, rows)]


def _rewards(report: dict[str, Any]) -> list[str]:
    """A line for each reward model, and what a gate by its rewards left out."""
    lines = []
    for entry in report["rounds"]:
        figures = entry.get("reward")
        if figures:
            lines.append(reward_line(entry["round"], figures))
        left_out = entry.get("training", {}).get("low_reward")
        if left_out is not None:
            lines.append(
                f"Training {entry['round']} left out {left_out} pairs by their rewards "
                f"(`round_{entry['round']:02d}/left_out.json`)."
            )
    return ["## Reward models", bullets(lines)] if lines else []


def reward_line(index: int, figures: dict[str, Any]) -> str:
    """What a reward model came to, in a sentence."""
    told = [
        f"{with_interval(figures, f'{name}_accuracy')} of {words}, mean margin {figures[f'{name}_margin']:.2f}"
        for name, words in (
            ("validation", f"the {figures['validation_pairs']} validation pairs"),
            ("unseen", "the training pairs, each scored by a model that had not seen its prompt"),
            ("seen", "the pairs that it was trained on"),
        )
        if f"{name}_accuracy" in figures
    ]
    return f"Round {index}, {figures['pairs']} pairs: the chosen answer has the higher reward in {'; in '.join(told)}."
