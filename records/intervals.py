"""Rates and differences over several drafts a prompt, with 95 % intervals: the prompt is the unit.

Drafts of one prompt resemble each other, so n drafts say less than n independent ones. How much less is estimated
from the spread of the prompts' own rates and gives an effective number of drafts between the number of prompts and
the number of drafts; the interval is Wilson's on that number. Two imagined prompts, one that always shows the event
and one that never does, join the estimate of the spread (as Agresti and Coull add two of each to a count): without
them a handful of rare events looks far too certain. At a rate of 0 or 1 the effective number is that of the prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

_Z = 1.959963984540054  # 95 % two-sided

Outcomes = Mapping[str, Sequence[float]]
"""By prompt id, whether each of its drafts showed the event; a prompt without drafts counts for nothing. Half an event
(a tie) is 0.5."""


@dataclass(frozen=True)
class Estimate:
    """A rate or a difference with its interval; `rate` and `interval` are None where there is no prompt to count."""

    rate: float | None
    interval: tuple[float, float] | None
    prompts: int
    drafts: int


def wilson(rate: float, n: float) -> tuple[float, float]:
    """The 95 % score interval of a rate in [0, 1] seen on n > 0 independent trials; n need not be whole.

    Source: Wilson 1927.
    """
    centre = (rate + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * sqrt(rate * (1 - rate) / n + _Z**2 / (4 * n**2))
    # At 0 and 1 the bound is the rate itself; rounding must not move it past.
    return min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half))


def rate_by_prompt(outcomes: Outcomes) -> Estimate:
    """The mean over prompts of each prompt's share of drafts, with its interval."""
    counted = {prompt: values for prompt, values in outcomes.items() if len(values)}
    n_drafts = sum(len(values) for values in counted.values())
    if not counted:
        return Estimate(None, None, 0, 0)
    means = np.array([float(np.mean(values)) for values in counted.values()])
    rate = float(means.mean())
    return Estimate(rate, wilson(rate, effective_drafts(means, n_drafts)), len(counted), n_drafts)


def effective_drafts(means: np.ndarray, n_drafts: int) -> float:
    """How many independent drafts tell as much as these; between the number of prompts and `n_drafts`.

    Args:
        means: shape (prompts,); each prompt's rate.
        n_drafts: over all prompts.
    """
    widened = np.append(means, [0.0, 1.0])
    centre = float(widened.mean())
    # centre * (1 - centre) is the variance of one independent draft; the imagined prompts keep both factors above 0.
    ratio = centre * (1 - centre) / float(widened.var(ddof=1))
    return float(np.clip(len(means) * ratio, len(means), n_drafts))


def paired_difference(before: Outcomes, after: Outcomes) -> Estimate:
    """The mean over shared prompts of (rate after - rate before), with its interval.

    Prompts that count on one side only are left out. The interval is the normal one after adding one imagined prompt
    that rose by 1 and one that fell by 1, so it has a width even where nothing changed.

    Source: Bonett and Price 2012 (paired proportions), carried over to shares.
    """
    shared = [prompt for prompt in before if len(before[prompt]) and len(after.get(prompt, ()))]
    n_drafts = sum(len(before[prompt]) + len(after[prompt]) for prompt in shared)
    if not shared:
        return Estimate(None, None, 0, 0)
    changes = np.array([float(np.mean(after[prompt]) - np.mean(before[prompt])) for prompt in shared])
    widened = np.append(changes, [1.0, -1.0])
    centre = float(widened.mean())
    half = _Z * sqrt(float(widened.var(ddof=1)) / len(widened))
    rate = float(changes.mean())
    interval = (max(-1.0, min(rate, centre - half)), min(1.0, max(rate, centre + half)))
    return Estimate(rate, interval, len(shared), n_drafts)
