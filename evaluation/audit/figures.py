"""The figures of each principle, with intervals, and the rates that findings test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.audit.association import Effects, effects
from evaluation.audit.counts import Counts, RevisedChains
from evaluation.audit.estimates import Array, Difference, Rates, Z, corrected, difference, rates

NOT_ASKED_AGAIN = "no draft was asked about twice (generate.verify.asks is 1), so chance is not known"


@dataclass(frozen=True)
class Figures:
    """Rates of all principles at once, by what they are of."""

    drawn: Rates
    """Chains for which the principle was drawn."""
    applicable: Rates
    """Of readable first verdicts on drafts."""
    violated: Rates
    """Of first verdicts on drafts to which it applies."""
    unparsed: Rates
    """Of first verdicts on drafts."""
    fires: Rates
    """Violations among readable first verdicts, whether or not it applies."""
    violated_after: Rates
    """Of first verdicts on final texts to which it applies."""
    fixed: Rates
    """Of revisions for it that ended decided: the final text complies by every answer."""
    nothing: Rates
    """The rest of those: it violates still, or the text is unchanged."""
    undecided: Rates
    """Of revisions for it: answers about the final text disagree, or cannot be read."""
    broke_another: Rates
    """Of revisions for it: the final text breaks a principle that the draft kept."""
    fixed_once: Rates
    """As `fixed`, by the first answer alone."""
    looks_fixed: Rates
    """Of drafts found violating and asked about again, unchanged: found complying."""
    net_fixed: Difference
    """`fixed_once` minus `looks_fixed`."""
    refusing: Rates
    """Of texts that were fixed on prompts not known to be harmful: those that refuse."""
    precision: Rates
    sensitivity: Rates
    specificity: Rates
    stability: Rates
    """Of texts about which a question was answered more than once: those with one answer alone."""
    refusals_added: Effects
    """What a revision for it adds to the share of texts that refuse, on prompts not known to be harmful."""
    length_added: Effects
    """What it adds to the logarithm of the text's length in characters."""


def principle_figures(counts: Counts) -> Figures:
    """All of them, of the facts that were counted."""
    c, chains = counts, counts.revised_chains
    per_prompt = np.repeat(c.chains_of_prompt[:, None], len(c.principles), axis=1)
    decided = c["fixed"] + c["nothing"]
    return Figures(
        drawn=rates(c["drawn"], per_prompt),
        applicable=rates(c["applicable"], c["readable"]),
        violated=rates(c["violated"], c["applicable"]),
        unparsed=rates(c["unparsed"], c["asked"]),
        fires=rates(c["violated"], c["readable"]),
        violated_after=rates(c["violated_after"], c["applicable_after"]),
        fixed=rates(c["fixed"], decided),
        nothing=rates(c["nothing"], decided),
        undecided=rates(c["tried"] - decided, c["tried"]),
        broke_another=rates(c["broke"], c["ended"]),
        fixed_once=rates(c["fixed_once"], c["asked_once"]),
        looks_fixed=rates(c["looks_fixed"], c["asked_again"]),
        net_fixed=difference((c["fixed_once"], c["looks_fixed"]), (c["asked_once"], c["asked_again"])),
        refusing=rates(c["refusing"], c["fixed_benign"]),
        precision=rates(c["seen"], c["seen"] + c["sound"] - c["passed"]),
        sensitivity=rates(c["seen"], c["broken"]),
        specificity=rates(c["passed"], c["sound"]),
        stability=rates(c["agreed"], c["repeated"]),
        refusals_added=_added(chains, chains.refuses.astype(float) - chains.refused, ~chains.harmful),
        length_added=_added(chains, *_length(chains)),
    )


def _length(chains: RevisedChains) -> tuple[Array, Array]:
    known = (chains.before > 0) & (chains.after > 0)
    return np.log(np.maximum(chains.after, 1)) - np.log(np.maximum(chains.before, 1)), known


def _added(chains: RevisedChains, outcome: Array, among: Array) -> Effects:
    return effects(chains.revised[among], outcome[among], chains.prompt[among])


def told(counts: Counts, figures: Figures) -> list[dict[str, Any]]:
    """What `audit.json` says of each principle; a figure is null where there was nothing to count."""
    return [_principle(counts, figures, column) for column in range(len(counts.principles))]


def _principle(counts: Counts, figures: Figures, column: int) -> dict[str, Any]:
    principle = counts.facts.constitution.principles[column]
    names = ("drawn", "applicable", "violated", "unparsed", "violated_after", "fixed", "nothing", "undecided")
    of: dict[str, Any] = {"id": principle.id, "text": principle.text, "category": principle.category}
    of |= {name: getattr(figures, name).told(column) for name in (*names, "broke_another")}
    of["looks_fixed"] = figures.looks_fixed.told(column)
    of["net_fixed"] = _net_fixed(figures, column)
    of["net_fixed_unknown"] = None if of["net_fixed"] else _unknown(counts, figures, column)
    of["refusing_fixes"] = figures.refusing.told(column)
    of["refusals_added"] = _effect(figures.refusals_added, column)
    of["length"] = _length_told(counts.revised_chains, figures.length_added, column)
    of["critic"] = _critic(counts, figures, column)
    of["stability"] = figures.stability.told(column)
    return of


def _unknown(counts: Counts, figures: Figures, column: int) -> str:
    if not figures.fixed_once.prompts[column]:
        return "no revision for it was verified"
    return "no draft that breaks it was asked about twice" if counts["asked_again"].any() else NOT_ASKED_AGAIN


def _net_fixed(figures: Figures, column: int) -> dict[str, Any] | None:
    found = figures.net_fixed
    if not (figures.fixed_once.prompts[column] and figures.looks_fixed.prompts[column]):
        return None
    return {"difference": float(found.value[column]), "ci": [float(found.low[column]), float(found.high[column])]}


def _effect(found: Effects, column: int) -> dict[str, Any] | None:
    value, error = float(found.value[column]), float(found.error[column])
    if not np.isfinite(value):
        return None
    return {"added": value, "ci": [value - Z * error, value + Z * error], "prompts": int(found.prompts[column])}


def _length_told(chains: RevisedChains, found: Effects, column: int) -> dict[str, Any] | None:
    """Mean characters of drafts and of rewrites, and the factor that a revision for this principle accounts for."""
    rows = chains.revised[:, column]
    effect = _effect(found, column)
    if effect is None or not rows.any():
        return None
    return {
        "before": float(chains.before[rows].mean()),
        "after": float(chains.after[rows].mean()),
        "factor": float(np.exp(effect["added"])),
        "ci": [float(np.exp(bound)) for bound in effect["ci"]],
        "n": int(rows.sum()),
        "prompts": effect["prompts"],
    }


def _critic(counts: Counts, figures: Figures, column: int) -> dict[str, Any] | None:
    """The critic on drafts against the exact check, or against people where they said."""
    known = int(counts["broken"][:, column].sum() + counts["sound"][:, column].sum())
    if not known:
        return None
    seen, broken = (int(counts[name][:, column].sum()) for name in ("seen", "broken"))
    passed, sound = (int(counts[name][:, column].sum()) for name in ("passed", "sound"))
    return {
        "held_against": {"check": known - int(counts["labelled"][:, column].sum())}
        | {"person": int(counts["labelled"][:, column].sum())},
        "precision": figures.precision.told(column),
        "recall": figures.sensitivity.told(column),
        "specificity": figures.specificity.told(column),
        "both": seen,
        "only_critic": sound - passed,
        "only_truth": broken - seen,
        "neither": passed,
        "violated_corrected": corrected(figures.fires, figures.sensitivity, figures.specificity, column),
    }
