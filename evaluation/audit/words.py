"""Findings in sentences."""

from __future__ import annotations

from typing import Any

from evaluation.audit.findings import FALSE_FINDINGS, FEWEST_CASES, THRESHOLDS, Finding, Test, Tests

_SAID = {
    "dead": "{0} is dead: hardly any draft is found breaking it.",
    "rubber_stamp": "{0} is a rubber stamp: nearly every draft is found breaking it.",
    "unfixable": "{0} is unfixable: revisions for it seldom mend it.",
    "redundant": "{0} is redundant with {1}: the critic says the same of both on nearly all drafts.",
    "conflict": "{0} conflicts with {1}: mending the one breaks the other.",
    "refusals": "{0} makes answers refuse: revisions for it turn answers into refusals.",
    "length": "{0} makes answers longer.",
    "critic_unreliable": "The critic is unreliable on {0}.",
}


def finding_told(finding: Finding, ids: tuple[str, ...]) -> dict[str, Any]:
    """A finding as `audit.json` has it; `words` is a sentence and the evidence of each test in another."""
    names = [ids[number] for number in finding.principles]
    evidence = [_evidence(test, adjusted, ids) for test, adjusted in finding.evidence]
    words = " ".join([_SAID[finding.kind].format(*names), *(one["words"] for one in evidence)])
    return {"kind": finding.kind, "principles": names, "words": words, "evidence": evidence}


def _evidence(test: Test, adjusted: float, ids: tuple[str, ...]) -> dict[str, Any]:
    bound = THRESHOLDS[test.kind]
    between = f" ({_figure(test.interval[0], test.kind)} to {_figure(test.interval[1], test.kind)})"
    direction = f" {ids[test.principles[0]]} mended, {ids[test.principles[1]]} lost:" if test.kind == "conflict" else ""
    about = test.about[0].upper() + test.about[1:]
    words = f"{about}:{direction} {_figure(test.effect, test.kind)}{between}, {test.cases} cases, {_chance(adjusted)}."
    return {
        "words": words,
        "about": test.about,
        "principles": [ids[number] for number in test.principles],
        "effect": test.effect,
        "ci": list(test.interval),
        "n": test.cases,
        "p_value": test.chance,
        "p_adjusted": adjusted,
        "minimum": bound.minimum,
        "null": bound.null,
    }


def _figure(value: float, kind: str) -> str:
    if kind in ("redundant", "length"):
        return f"{value:.2f}"
    return f"{value * 100:.1f} %"


def _chance(adjusted: float) -> str:
    return "adjusted p < 1e-6" if adjusted < 1e-6 else f"adjusted p = {adjusted:.1g}"


def rules_told(tests: Tests) -> dict[str, Any]:
    """By which rules findings were made, so that a reader need not trust a constant in the code."""
    return {
        "made": len(tests.made),
        "too_few_cases": tests.too_few,
        "false_findings": FALSE_FINDINGS,
        "fewest_cases": FEWEST_CASES,
        "adjustment": "Benjamini-Hochberg over all tests made",
        "thresholds": {
            kind: {"minimum": bound.minimum, "null": bound.null, "reason": bound.reason}
            for kind, bound in THRESHOLDS.items()
        },
    }
