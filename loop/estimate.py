"""What a run will take, worked out from a calibration: pure arithmetic, no engine.

- Calls, tokens and pairs: mean of a followed prompt's chains, times the chains of a round. Intervals: 95 %, bootstrap
  over the followed prompts, since chains of one prompt resemble each other.
- Time: the engines' start, the time in which the first chains ended (as many as are in flight at once), and for each
  chain beyond those the mean time between two ends while the engines were full. Interval: 95 %, Student's t over five
  stretches of that time; how fast the machine is at another hour is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from generator.calibrate import Calibration, ChainCost

_RESAMPLES = 4000
_STRETCHES = 5
_T_95 = 2.776  # two-sided, four degrees of freedom
Figures = dict[str, float | None]
"""`estimate`, `low` and `high`; `estimate` is None where only bounds are known."""


@dataclass(frozen=True)
class Price:
    """Of a critic elsewhere, in any currency for each million tokens."""

    prompt: float
    output: float


def per_chain(calibration: Calibration, value: Callable[[ChainCost], float], times: float = 1.0) -> Figures:
    """The mean of a chain's value with its interval, times a number of chains."""
    by_prompt: dict[str, list[float]] = {}
    for cost in calibration.chains:
        by_prompt.setdefault(cost.prompt_id, []).append(value(cost))
    means = np.array([float(np.mean(values)) for values in by_prompt.values()])
    drawn = np.random.default_rng(0).integers(len(means), size=(_RESAMPLES, len(means)))
    low, high = np.quantile(means[drawn].mean(axis=1), [0.025, 0.975])
    return {"estimate": times * float(means.mean()), "low": times * float(low), "high": times * float(high)}


def round_seconds(calibration: Calibration, chains: int) -> Figures:
    """Seconds of a generate stage with so many chains, from the process's beginning to the last chain's end."""
    ends, start = calibration.ends, calibration.start_seconds
    if len(ends) >= chains:
        whole = start + ends[chains - 1]
        return {"estimate": whole, "low": whole, "high": whole}
    if not calibration.loaded:
        # Between the load that was there and one as many times higher as chains are in flight in a whole round.
        slow = chains * ends[-1] / len(ends)
        fuller = max(1.0, min(calibration.in_flight, chains) / min(len(calibration.chains), calibration.in_flight))
        return {"estimate": None, "low": start + slow / fuller, "high": start + slow}
    ramp = min(calibration.in_flight, len(ends) // 2)
    mean, half = _between_ends(ends[ramp - 1 :])
    known, rest = start + ends[ramp - 1], chains - ramp
    return {
        "estimate": known + rest * mean,
        "low": known + rest * max(0.0, mean - half),
        "high": known + rest * (mean + half),
    }


def _between_ends(ends: Sequence[float]) -> tuple[float, float]:
    """Mean seconds between two ends, and half the width of its interval."""
    marks = [round(place * (len(ends) - 1) / _STRETCHES) for place in range(_STRETCHES + 1)]
    stretches = [(ends[last] - ends[first]) / (last - first) for first, last in pairwise(marks) if last > first]
    mean = (ends[-1] - ends[0]) / (len(ends) - 1)
    if len(stretches) < _STRETCHES:
        return mean, mean
    return mean, _T_95 * float(np.std(stretches, ddof=1)) / _STRETCHES**0.5


def generation(calibration: Calibration, *, chains: int, train_chains: int) -> dict[str, Any]:
    """A round's generation, by the policy that the calibration drafted with."""

    def ended(outcome: str, times: int) -> Figures:
        return per_chain(calibration, lambda cost: cost.outcome == outcome, times)

    reasons = sorted({cost.outcome for cost in calibration.chains} - {"pair"})
    return {
        "chains": chains,
        "calls": per_chain(calibration, lambda cost: cost.total("calls"), chains),
        "prompt_tokens": per_chain(calibration, lambda cost: cost.total("prompt_tokens"), chains),
        "output_tokens": per_chain(calibration, lambda cost: cost.total("output_tokens"), chains),
        "pairs": ended("pair", chains),
        "train_pairs": ended("pair", train_chains),
        "rejects": {reason: ended(reason, chains) for reason in reasons},
        "seconds": round_seconds(calibration, chains),
    }


ADD_UP = ("calls", "prompt_tokens", "output_tokens", "pairs", "seconds")
"""What several rounds take is so many times what one takes."""


def times(figures: Figures, rounds: int) -> Figures:
    """The figures of so many rounds like this one. All rest on one calibration, so errors add up and do not cancel."""
    return {name: None if value is None else rounds * value for name, value in figures.items()}


def cost(calibration: Calibration, price: Price, free: frozenset[str], chains: int) -> Figures:
    """What the calls of a round cost that the policy does not answer.

    Args:
        calibration: what was seen.
        price: of a million tokens.
        free: the kinds of calls that the policy answers.
        chains: of the round.
    """

    def paid(one: ChainCost) -> float:
        used = [usage for kind, usage in one.usage.items() if kind not in free]
        return sum(price.prompt * usage.prompt_tokens + price.output * usage.output_tokens for usage in used) / 1e6

    return per_chain(calibration, paid, chains)


def evaluation(calibration: Calibration, *, drafts: int, questions: int) -> dict[str, Any]:
    """An evaluation of one policy, at what a draft and a critique took in the calibration.

    Args:
        calibration: what was seen.
        drafts: of all test prompts together.
        questions: to the critic, about principles.
    """
    tokens = {}
    for name in ("prompt_tokens", "output_tokens"):
        # Where nothing is criticised, a judge's reply about an answer is what comes nearest.
        each = [_per_call(calibration, kinds, name) for kinds in (("draft",), ("critique", "rating", "judgement"))]
        tokens[name] = round(drafts * each[0] + questions * each[1])
    return {"drafts": drafts, "calls": drafts + questions, **tokens}


def _per_call(calibration: Calibration, kinds: Sequence[str], name: str) -> float:
    """Of the first of these kinds of calls that was seen."""
    found = ([cost.usage[kind] for cost in calibration.chains if kind in cost.usage] for kind in kinds)
    used = next((usages for usages in found if usages), [])
    calls = sum(usage.calls for usage in used)
    return sum(getattr(usage, name) for usage in used) / calls if calls else 0.0
