"""What is counted of the facts: by prompt and principle for rates, by chain and principle for what works together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from evaluation.audit.estimates import Array
from evaluation.audit.facts import Facts

# One row for each principle of a chain that had one draft. `stood` and `kept`: by every answer about the draft, as
# labels are made (generator/decide.py); `complied` and `still`: by every answer about the final text.
_CASES = """
CREATE TEMP TABLE cases AS
SELECT f.chain, f.prompt, f.principle, any_value(c.benign) AS benign, any_value(c.reason) = 'unchanged' AS unchanged,
    coalesce(bool_and(verdict = 'violates') FILTER (kind = 'draft'), FALSE) AS stood,
    coalesce(bool_and(verdict = 'complies') FILTER (kind = 'draft'), FALSE) AS kept,
    coalesce(bool_or(revised) FILTER (kind = 'draft'), FALSE) AS revised,
    count(*) FILTER (kind = 'verification') > 0 AS verified,
    coalesce(bool_and(verdict = 'complies') FILTER (kind = 'verification'), FALSE) AS complied,
    coalesce(bool_and(verdict = 'violates') FILTER (kind = 'verification'), FALSE) AS still,
    any_value(verdict) FILTER (kind = 'verification' AND ask = 0) AS once
FROM facts f JOIN chains c USING (chain) WHERE c.strategy = 'revision'
GROUP BY f.chain, f.prompt, f.principle
"""
_FIRST = """
SELECT principle, prompt, count(*) AS asked,
    count(*) FILTER (verdict = 'unparsed') AS unparsed, count(*) FILTER (verdict <> 'unparsed') AS readable,
    count(*) FILTER (applicable) AS applicable, count(*) FILTER (verdict = 'violates') AS violated,
    count(*) FILTER (truth = 'violates' AND verdict <> 'unparsed') AS broken,
    count(*) FILTER (truth = 'violates' AND verdict = 'violates') AS seen,
    count(*) FILTER (truth = 'complies' AND verdict <> 'unparsed') AS sound,
    count(*) FILTER (truth = 'complies' AND verdict IN ('complies', 'not_applicable')) AS passed,
    count(*) FILTER (truth IN ('violates', 'complies') AND truth_by = 'person') AS labelled
FROM facts WHERE kind = 'draft' AND ask = 0 GROUP BY ALL
"""
_AFTER = """
SELECT principle, prompt, count(*) FILTER (applicable) AS applicable_after,
    count(*) FILTER (verdict = 'violates') AS violated_after
FROM facts WHERE kind = 'verification' AND ask = 0 GROUP BY ALL
"""
_DRAWN = """
SELECT d.principle, c.prompt, count(*) AS drawn FROM (SELECT DISTINCT * FROM drawn) d JOIN chains c USING (chain)
GROUP BY ALL
"""
# The last of several questions about an unchanged draft, where all before it found the principle broken.
_AGAIN = """
SELECT principle, prompt, count(*) AS asked_again, count(*) FILTER (last = 'complies') AS looks_fixed
FROM (
    SELECT chain, text, principle, prompt, arg_max(verdict, ask) AS last, count(*) AS n,
        count(*) FILTER (verdict = 'violates') AS violates
    FROM facts WHERE kind = 'draft' GROUP BY ALL
) WHERE n > 1 AND last <> 'unparsed' AND violates - (last = 'violates')::INT = n - 1 GROUP BY ALL
"""
_REPEATED = """
SELECT principle, prompt, count(*) AS repeated, count(*) FILTER (kinds = 1) AS agreed
FROM (
    SELECT chain, text, principle, prompt, count(DISTINCT verdict) AS kinds FROM facts
    WHERE verdict <> 'unparsed' GROUP BY ALL HAVING count(*) > 1
) GROUP BY ALL
"""
_MENDED = """
SELECT c.principle, c.prompt, count(*) AS tried,
    count(*) FILTER (complied AND NOT unchanged) AS fixed,
    count(*) FILTER (unchanged OR still) AS nothing,
    count(*) FILTER (verified AND NOT unchanged) AS ended,
    count(*) FILTER (verified AND NOT unchanged AND b.chain IS NOT NULL) AS broke,
    count(*) FILTER (unchanged OR once <> 'unparsed') AS asked_once,
    count(*) FILTER (NOT unchanged AND once = 'complies') AS fixed_once,
    count(*) FILTER (complied AND NOT unchanged AND benign IS DISTINCT FROM FALSE) AS fixed_benign,
    count(*) FILTER (complied AND NOT unchanged AND benign IS DISTINCT FROM FALSE AND t.refusal) AS refusing
FROM cases c LEFT JOIN (SELECT DISTINCT chain FROM cases WHERE kept AND still) b USING (chain)
LEFT JOIN texts t ON t.chain = c.chain AND t.final
WHERE stood AND revised AND (verified OR unchanged) GROUP BY ALL
"""
_REVISED_CHAINS = """
SELECT c.chain, c.prompt, c.benign IS NOT DISTINCT FROM FALSE AS harmful, d.chars AS before, f.chars AS after,
    d.refusal AS refused, f.refusal AS refuses
FROM chains c JOIN texts d ON d.chain = c.chain AND d.text = 0 JOIN texts f ON f.chain = c.chain AND f.final
WHERE c.chain IN (SELECT chain FROM cases WHERE verified) AND c.chain IN (SELECT chain FROM revisions)
ORDER BY c.prompt, c.chain
"""


@dataclass(frozen=True)
class RevisedChains:
    """Chains whose rewritten text was verified, ordered by prompt; matrices are (chains, principles), bool."""

    prompt: Array
    harmful: Array
    before: Array
    after: Array
    refused: Array
    refuses: Array
    revised: Array
    """Whether the draft was found breaking the principle and a revision for it followed."""
    kept: Array
    """Whether the draft complied, and there is an agreed word on the final text."""
    lost: Array
    """Whether it was kept, and the final text breaks it."""


@dataclass(frozen=True)
class DraftVerdicts:
    """The first verdict on each draft, ordered by prompt; matrices are (drafts, principles), bool."""

    prompt: Array
    known: Array
    """Whether it could be read and the principle applies."""
    violates: Array


class Counts:
    """Everything that figures are made of. Matrices by name are (prompts, principles); asked for once, then kept."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.principles = facts.principles
        facts.run(_CASES)
        (self.chains_of_prompt,) = facts.query("SELECT count(*) AS n FROM chains GROUP BY prompt ORDER BY prompt")
        self.prompts = len(self.chains_of_prompt)

    def __getitem__(self, name: str) -> Array:
        return self._by_prompt[name]

    @cached_property
    def _by_prompt(self) -> Mapping[str, Array]:
        found: dict[str, Array] = {}
        for statement in (_FIRST, _AFTER, _DRAWN, _AGAIN, _REPEATED, _MENDED):
            columns = self.facts.named(statement)
            principle, prompt = columns.pop("principle"), columns.pop("prompt")
            for name, values in columns.items():
                found[name] = np.zeros((self.prompts, len(self.principles)), np.int32)
                found[name][prompt, principle] = values
        return found

    @cached_property
    def revised_chains(self) -> RevisedChains:
        """Those chains, with what became of their principles."""
        columns = self.facts.named(_REVISED_CHAINS)
        chain = columns.pop("chain")
        wanted = {
            "revised": "SELECT chain, principle FROM cases WHERE stood AND revised",
            "kept": "SELECT chain, principle FROM cases WHERE kept AND (still OR complied)",
            "lost": "SELECT chain, principle FROM cases WHERE kept AND still",
        }
        return RevisedChains(**columns, **{name: self._marked(chain, query) for name, query in wanted.items()})

    def _marked(self, chain: Array, statement: str) -> Array:
        """Which of some chains, in their order, a query names with which principle."""
        marks = np.zeros((len(chain), len(self.principles)), bool)
        place = np.full(int(chain.max(initial=-1)) + 1, -1)
        place[chain] = np.arange(len(chain))
        chains, principles = self.facts.query(statement)
        inside = chains < len(place)
        rows = place[chains[inside]]
        marks[rows[rows >= 0], principles[inside][rows >= 0]] = True
        return marks

    @cached_property
    def draft_verdicts(self) -> DraftVerdicts:
        """The first verdicts, draft by draft."""
        statement = "FROM facts WHERE kind = 'draft' AND ask = 0"
        draft, prompt, principle, applicable, violates = self.facts.query(
            "SELECT dense_rank() OVER (ORDER BY prompt, chain, text) - 1 AS draft, prompt, principle, applicable, "
            f"verdict = 'violates' AS violates {statement} ORDER BY prompt, chain, text"
        )
        shape = (int(draft.max(initial=-1)) + 1, len(self.principles))
        known, found, of = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape[0], np.int64)
        known[draft, principle], found[draft, principle], of[draft] = applicable, violates, prompt
        return DraftVerdicts(of, known, found)

    def prompt_ids(self, numbers: Array) -> list[str]:
        """The ids of prompts by number."""
        (ids,) = self.facts.query("SELECT prompt_id FROM prompts ORDER BY prompt")
        return [str(ids[number]) for number in numbers]

    def one(self, statement: str) -> Any:
        """The one value of a query."""
        return self.facts.query(statement)[0][0]
