"""What holds between principles: the same verdicts, one mended at the cost of another, prompts that none touches."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from evaluation.audit.association import Agreement, agreement
from evaluation.audit.counts import Counts
from evaluation.audit.estimates import Array, Difference, Rates, Z, by_prompt, chance_higher, difference, rates

SUBSET_KEEPS = 0.95
"""Of the drafts in which any principle was found broken."""
EXACT_UP_TO = 12
"""Principles up to which the smallest subset is searched for among all; 4,096 of them."""
SHOWN_PROMPTS = 20


@dataclass(frozen=True)
class Conflict:
    """What mending one principle does to all others that the draft kept; every field has a number for each."""

    lost: Rates
    """Broken by the final text, where this principle was revised."""
    elsewhere: Rates
    """The same, where only other principles were revised: chance."""
    more: Difference

    @cached_property
    def chance(self) -> Array:
        """P of so many more losses, or more, if mending this principle were like mending any other."""
        return chance_higher(self.lost, self.elsewhere)


def redundancies(counts: Counts) -> list[Agreement]:
    """Of each principle, kappa with every one, over drafts to which both apply."""
    drafts = counts.draft_verdicts
    return [
        agreement(drafts.violates, drafts.known, one, drafts.prompt, counts.prompts)
        for one in range(len(counts.principles))
    ]


def told_redundancies(counts: Counts, found: list[Agreement]) -> list[dict[str, Any]]:
    """Every pair of principles with a kappa, the most alike first."""
    pairs = []
    for a, b in combinations(range(len(counts.principles)), 2):
        kappa, error = float(found[a].kappa[b]), float(found[a].error[b])
        if np.isfinite(kappa) and found[a].fewest[b] > 0:
            pairs.append(
                {
                    "principles": [counts.principles[a], counts.principles[b]],
                    "kappa": kappa,
                    "ci": [max(-1.0, kappa - Z * error), min(1.0, kappa + Z * error)],
                    "n": int(found[a].texts[b]),
                }
            )
    return sorted(pairs, key=lambda pair: (-pair["kappa"], pair["principles"]))


def conflicts(counts: Counts) -> list[Conflict]:
    """Of each principle, what mending it does to the others."""
    chains = counts.revised_chains
    kept = by_prompt(chains.kept.astype(float), chains.prompt, counts.prompts)
    lost = by_prompt(chains.lost.astype(float), chains.prompt, counts.prompts)
    found = []
    for one in range(len(counts.principles)):
        rows = chains.revised[:, one]
        kept_here = by_prompt(chains.kept[rows].astype(float), chains.prompt[rows], counts.prompts)
        lost_here = by_prompt(chains.lost[rows].astype(float), chains.prompt[rows], counts.prompts)
        more = difference((lost_here, lost - lost_here), (kept_here, kept - kept_here))
        found.append(Conflict(rates(lost_here, kept_here), rates(lost - lost_here, kept - kept_here), more))
    return found


def told_conflicts(counts: Counts, found: list[Conflict]) -> list[dict[str, Any]]:
    """Every ordered pair of which anything is known, the worst first."""
    pairs = []
    for fixed, conflict in enumerate(found):
        for broken, id in enumerate(counts.principles):
            rate = conflict.lost.told(broken)
            if rate is not None and fixed != broken:
                elsewhere = conflict.elsewhere.told(broken)
                bounds = [float(conflict.more.low[broken]), float(conflict.more.high[broken])]
                pairs.append(
                    {
                        "fixed": counts.principles[fixed],
                        "broken": id,
                        "broken_rate": rate,
                        "elsewhere": elsewhere,
                        "difference": float(conflict.more.value[broken]) if elsewhere else None,
                        "ci": bounds if elsewhere else None,
                    }
                )
    return sorted(pairs, key=lambda one: (-(one["difference"] or 0.0), one["fixed"], one["broken"]))


def coverage(counts: Counts) -> dict[str, Any]:
    """The prompts that no principle touches: none was found broken in any of their drafts, or none even applied."""
    asked = counts["readable"].sum(1) > 0
    untouched = asked & (counts["violated"].sum(1) == 0)
    unmeant = asked & (counts["applicable"].sum(1) == 0)
    return {
        "prompts": int(asked.sum()),
        "untouched": rates(untouched[:, None].astype(int), asked[:, None].astype(int)).told(0),
        "none_applies": rates(unmeant[:, None].astype(int), asked[:, None].astype(int)).told(0),
        "untouched_prompts": counts.prompt_ids(np.flatnonzero(untouched)[:SHOWN_PROMPTS]),
    }


def smallest_subset(counts: Counts, without: Collection[int] = ()) -> dict[str, Any]:
    """The fewest principles that still find something in 95 % of the drafts in which all of them found something.

    `exact` says whether all subsets were looked at. Else `method` is greedy: the principle that finds most of what is
    left comes next, which may take more principles than are needed (by at most a factor of 1 + ln(drafts)).

    Args:
        counts: of the facts.
        without: principles, by number, that are left out as if they were not there: a rubber stamp alone would keep
            everything.
    """
    violates = counts.draft_verdicts.violates.copy()
    violates[:, list(without)] = False
    patterns, drafts = _patterns(violates)
    total, left_out = int(drafts.sum()), [counts.principles[column] for column in sorted(without)]
    if not total:
        none: dict[str, Any] = {"method": "none", "exact": True, "left_out": left_out, "principles": []}
        return none | {"drafts": 0, "kept": None, "steps": []}
    steps = list(_greedy(patterns, drafts, total))
    chosen, exact = [column for column, _ in steps], len(counts.principles) - len(left_out) <= EXACT_UP_TO
    if exact:
        chosen = _exact(patterns, drafts, total, most=len(chosen))
    return {
        "method": "exact" if exact else "greedy",
        "exact": exact,
        "left_out": left_out,
        "principles": [counts.principles[column] for column in chosen],
        "drafts": total,
        "kept": int(drafts[patterns[:, chosen].any(1)].sum()) / total,
        "steps": [{"principle": counts.principles[column], "kept": kept / total} for column, kept in steps],
    }


def _patterns(violates: Array) -> tuple[Array, Array]:
    """Which principles are broken together, each combination once, with the number of drafts that show it."""
    broken = violates[violates.any(1)]
    packed, counts = np.unique(np.packbits(broken, axis=1), axis=0, return_counts=True)
    return np.unpackbits(packed, axis=1, count=broken.shape[1]).astype(bool), counts


def _greedy(patterns: Array, drafts: Array, total: int) -> Iterator[tuple[int, int]]:
    left, kept = np.ones(len(drafts), bool), 0
    while kept < SUBSET_KEEPS * total:
        gains = (patterns[left] * drafts[left][:, None]).sum(0)
        best = int(gains.argmax())
        left &= ~patterns[:, best]
        kept = total - int(drafts[left].sum())
        yield best, kept


def _exact(patterns: Array, drafts: Array, total: int, *, most: int) -> list[int]:
    """The smallest subset that keeps enough, of equally small ones the one that keeps most; one of `most` does."""
    columns = np.flatnonzero(patterns.any(0)).tolist()
    for size in range(1, most + 1):
        kept = {chosen: int(drafts[patterns[:, chosen].any(1)].sum()) for chosen in combinations(columns, size)}
        best = max(kept, key=kept.__getitem__)
        if kept[best] >= SUBSET_KEEPS * total:
            break
    return list(best)
