"""The object of `audit.json`, from the facts of a run alone; the same facts give the same object."""

from __future__ import annotations

from typing import Any

from evaluation.audit.across import (
    conflicts,
    coverage,
    redundancies,
    smallest_subset,
    told_conflicts,
    told_redundancies,
)
from evaluation.audit.counts import Counts
from evaluation.audit.facts import Facts
from evaluation.audit.figures import principle_figures, told
from evaluation.audit.findings import all_tests, find
from evaluation.audit.words import finding_told, rules_told


def audit(facts: Facts) -> dict[str, Any]:
    """Everything that the rows tell about their constitution.

    Rates are {rate, ci, n, prompts}, `n` being what they are over and `ci` the 95 % interval; null where there was
    nothing to count. See docs/auditing.md for what each is of.
    """
    counts = Counts(facts)
    figures, kappas, found = principle_figures(counts), redundancies(counts), conflicts(counts)
    tests = all_tests(figures, kappas, found)
    findings = find(tests)
    stamps = {number for one in findings if one.kind == "rubber_stamp" for number in one.principles}
    return {
        "constitution": {"name": facts.constitution.name, "digest": facts.constitution.digest},
        "counted": _counted(counts),
        "findings": [finding_told(finding, counts.principles) for finding in findings],
        "principles": told(counts, figures),
        "redundancy": told_redundancies(counts, kappas),
        "conflict": told_conflicts(counts, found),
        "coverage": coverage(counts, without=stamps),
        "subset": smallest_subset(counts, without=stamps),
        "tests": rules_told(tests),
    }


def _counted(counts: Counts) -> dict[str, Any]:
    names = counts.facts.query("SELECT strategy, count(*) AS n FROM chains GROUP BY strategy ORDER BY strategy")
    reasons = counts.facts.query("SELECT reason, count(*) AS n FROM chains GROUP BY reason ORDER BY reason")
    rounds = counts.facts.query("SELECT DISTINCT round FROM chains ORDER BY round")[0]
    unknown = counts.facts.query("SELECT principle, sum(verdicts)::BIGINT FROM unknown GROUP BY ALL ORDER BY ALL")
    outcomes = {str(reason): int(n) for reason, n in zip(*reasons, strict=True)}
    return {
        "prompts": counts.prompts,
        "chains": int(counts.one("SELECT count(*) AS n FROM chains")),
        "verdicts": int(counts.one("SELECT count(*) AS n FROM facts")),
        "pairs": outcomes.pop("", 0),
        "rejects": outcomes,
        "strategies": {str(name): int(n) for name, n in zip(*names, strict=True)},
        "rounds": [int(index) for index in rounds],
        "verdicts_on_unknown_principles": {str(id): int(n) for id, n in zip(*unknown, strict=True)},
    }
