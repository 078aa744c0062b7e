"""What holds between principles: the same verdicts, one mended at the cost of another, prompts that none touches."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from evaluation.audit.association import Agreement, Effects, agreement, beyond_others, chance_positive, effects
from evaluation.audit.counts import Counts
from evaluation.audit.estimates import Array, Rates, Z, by_prompt, rates

SUBSET_KEEPS = 0.95
"""Of the drafts in which any principle was found broken."""
EXACT_UP_TO = 12
"""Principles up to which the smallest subset is searched for among all; 4,096 of them."""
SHOWN_PROMPTS = 20


@dataclass(frozen=True)
class Conflict:
    """What becomes of one principle that drafts kept when others are revised; every field has a number for each."""

    lost: Rates
    """Broken by the final text, where the other was revised."""
    elsewhere: Rates
    """The same, where only principles beside that one were revised."""
    beyond: Effects
    """What a revision for the other adds to the chance that it is lost, all revisions of a chain told apart, beyond
    what a revision for any of the rest adds: more revisions break more, whatever they are for."""

    @cached_property
    def chance(self) -> Array:
        """P of so much, or more, if mending that principle were like mending any other."""
        return chance_positive(self.beyond)


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
    """Of each principle, what mending the others does to it."""
    chains, found = counts.revised_chains, []
    for one in range(len(counts.principles)):
        rows = chains.kept[:, one]
        prompt, revised, lost = chains.prompt[rows], chains.revised[rows], chains.lost[rows][:, [one]]
        sums = [by_prompt(x.astype(float), prompt, counts.prompts) for x in (lost & revised, revised)]
        rest = [by_prompt(x.astype(float), prompt, counts.prompts) for x in (lost & ~revised, ~revised)]
        added = effects(revised, lost[:, 0].astype(float), prompt)
        found.append(Conflict(rates(*sums), rates(*rest), beyond_others(added, revised.sum(0))))
    return found


def told_conflicts(counts: Counts, found: list[Conflict]) -> list[dict[str, Any]]:
    """Every ordered pair of which anything is known, the worst first."""
    pairs = []
    for broken, conflict in enumerate(found):
        for fixed, id in enumerate(counts.principles):
            rate = conflict.lost.told(fixed)
            if rate is not None:
                value, error = float(conflict.beyond.value[fixed]), float(conflict.beyond.error[fixed])
                known = bool(np.isfinite(value))
                pairs.append(
                    {
                        "fixed": id,
                        "broken": counts.principles[broken],
                        "broken_rate": rate,
                        "elsewhere": conflict.elsewhere.told(fixed),
                        "beyond": value if known else None,
                        "ci": [value - Z * error, value + Z * error] if known else None,
                    }
                )
    return sorted(pairs, key=lambda one: (-(one["beyond"] or 0.0), one["fixed"], one["broken"]))


def coverage(counts: Counts, without: Collection[int] = ()) -> dict[str, Any]:
    """The prompts that no principle touches: none was found broken in any of their drafts, or none even applied.

    Args:
        counts: of the facts.
        without: principles, by number, that touch nothing by being found broken: rubber stamps.
    """
    asked = counts["readable"].sum(1) > 0
    violated = np.delete(counts["violated"], list(without), axis=1)
    untouched = asked & (violated.sum(1) == 0)
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
