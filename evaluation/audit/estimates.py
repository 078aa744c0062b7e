"""Rates, differences of rates, and their tests for many columns at once, the prompt as the unit throughout.

The arithmetic of a rate is that of records/intervals.py: the mean over prompts of each prompt's share, and Wilson's
interval on an effective number of trials between prompts and trials. Tests of rates are exact ones, on that number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Z = 1.959963984540054  # 95 % two-sided
Array = Any
"""A numpy array."""


@dataclass(frozen=True)
class Rates:
    """Rates of some columns; every field has a number for each. Where `prompts` is 0 rate and bounds are nan."""

    rate: Array
    low: Array
    high: Array
    prompts: Array
    trials: Array
    effective: Array

    def told(self, column: int) -> dict[str, Any] | None:
        """One column as the report has it; None where nothing was tried."""
        if not self.prompts[column]:
            return None
        return {
            "rate": float(self.rate[column]),
            "ci": [float(self.low[column]), float(self.high[column])],
            "n": int(self.trials[column]),
            "prompts": int(self.prompts[column]),
        }


def rates(hits: Array, trials: Array) -> Rates:
    """The rate of each column.

    Args:
        hits: shape (prompts, columns), how many trials of a prompt showed the event.
        trials: the same shape, how many there were; a prompt without any counts for nothing.
    """
    counted = trials > 0
    prompts, total = counted.sum(0), trials.sum(0)
    share = np.divide(hits, trials, out=np.zeros(trials.shape), where=counted)
    # Two imagined prompts join the estimate of the spread, as in records/intervals.py.
    number = prompts + 2
    centre = (share.sum(0) + 1) / number
    squares = ((share - centre) ** 2 * counted).sum(0) + centre**2 + (1 - centre) ** 2
    ratio = centre * (1 - centre) / (squares / (number - 1))
    effective = np.clip(prompts * ratio, prompts, np.maximum(total, prompts))
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = share.sum(0) / prompts
        low, high = _wilson(rate, effective)
    return Rates(rate, low, high, prompts, total, effective)


def _wilson(rate: Array, n: Array) -> tuple[Array, Array]:
    centre = (rate + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(rate * (1 - rate) / n + Z**2 / (4 * n**2))
    return np.minimum(rate, np.maximum(0.0, centre - half)), np.maximum(rate, np.minimum(1.0, centre + half))


def chance_below(found: Rates, rate: float) -> Array:
    """P of seeing so few events or fewer if the true rate were this one; 1 where nothing was tried."""
    from scipy.special import betainc

    events = np.nan_to_num(found.rate) * found.effective
    tail = betainc(np.maximum(found.effective - events, 1e-9), events + 1, 1 - rate)
    return np.where(found.prompts > 0, tail, 1.0)


def chance_above(found: Rates, rate: float) -> Array:
    """P of seeing so many events or more if the true rate were this one; 1 where nothing was tried."""
    from scipy.special import betainc

    events = np.nan_to_num(found.rate) * found.effective
    tail = betainc(np.maximum(events, 1e-9), found.effective - events + 1, rate)
    return np.where((found.prompts > 0) & (events > 0), tail, 1.0)


@dataclass(frozen=True)
class Difference:
    """One rate minus another, by column; the interval is the normal one after widening (see `difference`)."""

    value: Array
    error: Array
    low: Array
    high: Array


def difference(hits: tuple[Array, Array], trials: tuple[Array, Array]) -> Difference:
    """The first rate minus the second, where one prompt may have trials of both.

    Each side is widened by two imagined prompts, one that shows the event and one that does not, for the interval.

    Args:
        hits: each of shape (prompts, columns).
        trials: each of shape (prompts, columns).

    Source: Agresti and Caffo 2000, carried over to shares of prompts.
    """
    values, parts, extra = [], [], []
    for hit, trial in zip(hits, trials, strict=True):
        counted = trial > 0
        share = np.divide(hit, trial, out=np.zeros(trial.shape), where=counted)
        n = counted.sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            values.append(share.sum(0) / n)
        centre = (share.sum(0) + 1) / (n + 2)
        parts.append((share - centre) * counted / (n + 2))
        extra.append((centre**2 + (1 - centre) ** 2) / (n + 2) ** 2)
    error = np.sqrt(((parts[0] - parts[1]) ** 2).sum(0) + extra[0] + extra[1])
    value = values[0] - values[1]
    return Difference(value, error, np.maximum(-1, value - Z * error), np.minimum(1, value + Z * error))


def by_prompt(values: Array, prompt: Array, prompts: int) -> Array:
    """The sums of rows that belong to one prompt.

    Args:
        values: shape (rows, columns).
        prompt: shape (rows,), the number of each row's prompt, ascending.
        prompts: how many there are.
    """
    sums = np.zeros((prompts, values.shape[1]))
    if len(prompt):
        starts = np.flatnonzero(np.r_[True, np.diff(prompt) > 0])
        sums[prompt[starts]] = np.add.reduceat(values, starts, axis=0)
    return sums


def corrected(observed: Rates, sensitivity: Rates, specificity: Rates, column: int) -> dict[str, Any] | None:
    """A rate as it would be if the one who judged made no mistakes; None where that is no better than chance.

    Source: Rogan and Gladen 1978; the interval of Lang and Reiczigel 2014, which knows that the accuracy was measured.
    """
    if not (observed.prompts[column] and sensitivity.prompts[column] and specificity.prompts[column]):
        return None
    p, se, sp = (float(one.rate[column]) for one in (observed, sensitivity, specificity))
    n, n_se, n_sp = (float(one.effective[column]) for one in (observed, sensitivity, specificity))
    if se + sp - 1 <= 0:
        return None
    point = min(1.0, max(0.0, (p + sp - 1) / (se + sp - 1)))
    p, se, sp = (n * p + Z**2 / 2) / (n + Z**2), (n_se * se + 1) / (n_se + 2), (n_sp * sp + 1) / (n_sp + 2)
    n, n_se, n_sp = n + Z**2, n_se + 2, n_sp + 2
    if se + sp - 1 <= 0:
        return None
    centre = (p + sp - 1) / (se + sp - 1)
    var_se, var_sp = se * (1 - se) / n_se, sp * (1 - sp) / n_sp
    moved = 2 * Z**2 * (centre * var_se - (1 - centre) * var_sp)
    half = Z * np.sqrt(p * (1 - p) / n + centre**2 * var_se + (1 - centre) ** 2 * var_sp) / (se + sp - 1)
    low, high = (float(np.clip(centre + moved + sign * half, 0, 1)) for sign in (-1, 1))
    return {"rate": point, "ci": [min(low, point), max(high, point)]}


def discoveries(chances: Mapping[Any, float], false_share: float) -> dict[Any, float]:
    """Which of many tests stand, with their adjusted P: of those, at most this share is expected to be false.

    Source: Benjamini and Hochberg 1995.
    """
    ordered = sorted(chances, key=chances.__getitem__)
    adjusted: dict[Any, float] = {}
    least = 1.0
    for rank in range(len(ordered), 0, -1):
        least = min(least, chances[ordered[rank - 1]] * len(ordered) / rank)
        adjusted[ordered[rank - 1]] = least
    return {name: value for name, value in adjusted.items() if value <= false_share}
