"""Warnings about shortcuts (trainer/shortcuts.py), each with the way out; given before the training begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_OWN_WORDS = (
    "Pairs whose two sides the policy writes itself have it less: generate.reviser: policy, or "
    "generate.strategy: best_of_n."
)


class _Shortcut(NamedTuple):
    threshold: float
    """An AUC whose whole interval lies beyond it, or below 1 minus it, is a warning."""
    more: str
    """What the chosen answer is where the AUC is near 1."""
    less: str
    """What it is where the AUC is near 0; empty where that is no warning."""
    way_out: str


_LIKENESS = "A policy can learn whose voice it is instead of the principles. " + _OWN_WORDS
SHORTCUTS = {
    "length": _Shortcut(
        0.75,
        "the longer answer",
        "the shorter answer",
        "A policy can learn length instead of the principles. generate.filters.length_balance: true evens it out.",
    ),
    # Rewriting for a principle changes words, so only what tells nearly all pairs apart is worth a look.
    "words": _Shortcut(0.85, "the answer that certain words point to", "", ""),
    "base_logp": _Shortcut(
        0.85, "the answer likelier under the base", "the answer less likely under the base", _LIKENESS
    ),
    "policy_logp": _Shortcut(
        0.85, "the answer likelier under the policy", "the answer less likely under the policy", _LIKENESS
    ),
    # The other way round it is what earlier rounds taught: their reward is how much likelier the policy makes a text.
    "base_over_policy": _Shortcut(
        0.85, "the answer that sounds more like the base than like the policy", "", _LIKENESS
    ),
}
MOST_REFUSED = 0.5
"""More than this share of refusals among the chosen answers, and clearly more than among the rejected, is a warning."""


def shortcut_alarms(figures: Mapping[str, Any]) -> list[dict[str, str]]:
    """Every warning that the figures of `find_shortcuts` give rise to, as mappings with `name` and `message`."""
    found = [_of_shortcut(name, shortcut, figures) for name, shortcut in SHORTCUTS.items() if f"{name}_auc" in figures]
    return [alarm for alarm in (*found, _of_refusals(figures)) if alarm]


def _of_shortcut(name: str, shortcut: _Shortcut, figures: Mapping[str, Any]) -> dict[str, str] | None:
    low, high = figures[f"{name}_auc_ci"]
    auc = figures[f"{name}_auc"]
    if low > shortcut.threshold:
        what = shortcut.more
    elif high < 1 - shortcut.threshold and shortcut.less:
        what, auc, low, high = shortcut.less, 1 - auc, 1 - high, 1 - low
    else:
        return None
    way_out = shortcut.way_out or _about_words(figures)
    told = f"{what} is the chosen one in {auc:.0%} of the pairs ({low:.0%} to {high:.0%}). {way_out}"
    return {"name": f"shortcut_{name}", "message": told}


def _about_words(figures: Mapping[str, Any]) -> str:
    sides = ((side, figures.get(f"{side}_words", ())) for side in ("chosen", "rejected"))
    named = "; ".join(f"{side}: {', '.join(words)}" for side, words in sides if words)
    return (
        f"They are most of all, {named}. Where these are what the principles are about, all is well; a set phrase of "
        f"whoever wrote the chosen answers would be learned instead. {_OWN_WORDS}"
    )


def _of_refusals(figures: Mapping[str, Any]) -> dict[str, str] | None:
    chosen, rejected = (figures.get(f"{side}_refused_rate") for side in ("chosen", "rejected"))
    if chosen is None or rejected is None or chosen <= MOST_REFUSED:
        return None
    if figures["chosen_refused_rate_ci"][0] <= figures["rejected_refused_rate_ci"][1]:
        return None
    return {
        "name": "shortcut_refusals",
        "message": f"{chosen:.0%} of the chosen answers refuse, and {rejected:.0%} of the rejected: the policy can "
        "learn to refuse whatever it is asked. Where not all prompts are harmful on purpose, add benign ones to "
        "sources:, or let a judge of helpfulness decide too (generate.judge: {at_least: tie}).",
    }
