"""For benchmarks/planted.py: what a wrong critic does to pairs, exactly, by the probabilities instead of by trial.

One principle, broken by a share p of the drafts, rewrites that mend it with probability m, verdicts that are wrong with
probability e, and n questions about each side, all of which must agree (generator/decide.py):

    right = p (1 - e)^n  m (1 - e)^n                   broken, so found; mended, so found
    kept  = right + p (1 - e)^n (1 - m) e^n            broken, so found; not mended, and passed each time
                  + (1 - p) e^n (1 - e)^n              fine, and accused each time; then any rewrite passes

Precision is right / kept, yield is kept. Where p is small the last line decides: odds of (1 - p) / p against the pair,
less a factor of (e / (1 - e))^n / m.

Several principles meet in the rewriting: a rewrite for one may break another, the text is looked at again before a
later rewrite, and in the end it must pass on all. `expected` sums over all ways through such a chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Errors = Literal["independent", "persistent", "persistent_other_verifier"]


@dataclass(frozen=True)
class Case:
    """What is planted, and how wrong the critic is.

    `faulty` is the share of drafts that break some principle, spread evenly: each is broken on its own with
    probability `fault_rate`. A rewrite mends what it is for with probability `mends`, and breaks another principle with
    probability `breaks` shared out among all others. It never breaks the principle that it is for.
    """

    principles: int
    error: float
    asks: int
    errors: Errors = "independent"
    faulty: float = 0.8
    mends: float = 0.9
    breaks: float = 0.1
    draft_asks: int | None = None

    @property
    def fault_rate(self) -> float:
        """Probability that a draft breaks one given principle."""
        return 1 - (1 - self.faulty) ** (1 / self.principles)

    @property
    def breaks_each(self) -> float:
        """Probability that a rewrite breaks one given other principle."""
        return self.breaks / (self.principles - 1) if self.principles > 1 else 0.0

    @property
    def telling_asks(self) -> tuple[int, int]:
        """Questions about the draft and about the final text whose errors have nothing to do with each other.

        An error that persists is the same at each question. Another verifier adds one question about the draft, since
        the first is the critic's; about the final text all are its own.
        """
        draft_asks = self.draft_asks or self.asks
        if self.errors == "independent":
            return draft_asks, self.asks
        return (1 if self.errors == "persistent" else min(draft_asks, 2)), 1


@dataclass(frozen=True)
class Expected:
    """`precision` is the share of right pairs among all, `pairs` the pairs per draft (the yield)."""

    precision: float
    pairs: float


@lru_cache(maxsize=4096)
def expected(case: Case) -> Expected:
    """What the chain's rules come to over all drafts, rewrites and errors, without trial."""
    kept = _mass(case, right=False)
    return Expected(_mass(case, right=True) / kept if kept else float("nan"), kept)


def _mass(case: Case, *, right: bool) -> float:
    """Probability that a chain gives a pair, or, where `right`, one that is right.

    `mass`, shape (2, 2, K + 1, K + 1) for K principles, holds the ways through the chain so far by what they have in
    common: whether a fault of the draft was flagged; whether the last rewrite is done; how many rewrites there were;
    and how many principles' share of the sum still takes a factor for each later rewrite, that it leaves them unbroken.
    """
    p, e, (draft_asks, final_asks) = case.fault_rate, case.error, case.telling_asks
    flagged, accused = (1 - e) ** draft_asks, e**draft_asks
    passes, slips = (1 - e) ** final_asks, e**final_asks
    # What the verifier must say is straight in the chance that the text is whole in the end: base + slope * chance.
    base, slope = (0.0, passes) if right else (slips, passes - slips)
    rewrites = np.arange(case.principles + 1)[:, None]
    unharmed, left_whole = (1 - case.breaks_each) ** rewrites, (1 - case.breaks_each) ** rewrites.T

    def ends(mass: np.ndarray, whole: np.ndarray | float) -> np.ndarray:
        """Past the final verdict on a principle that is whole, for now, with this chance."""
        after = mass * base
        after[..., 1:] += (mass * whole * slope)[..., :-1]
        return after

    mass = np.zeros((2, 2, case.principles + 1, case.principles + 1))
    mass[0, 0, 0, 0] = 1.0
    for _ in range(case.principles):
        after = ends(mass * p * (1 - flagged), 0.0) + ends(mass * (1 - p) * (1 - accused), unharmed)
        found = np.stack([np.zeros_like(mass[0]), mass.sum(axis=0)])
        for at, is_whole in (
            (found * p * flagged, False),
            (mass * (1 - p) * accused * unharmed, True),
            (mass * (1 - p) * accused * (1 - unharmed), False),
        ):
            # The first flagged principle is rewritten for; later ones where they are found broken again.
            rewritten = at * np.where(rewrites == 0, 1.0, e if is_whole else 1 - e)
            skipped = at - rewritten
            written = np.zeros_like(mass)
            written[:, :, 1:] = (rewritten * left_whole)[:, :1, :-1]  # one that may be the last, or may not
            after += ends(written, 1.0 if is_whole else case.mends)
            if case.errors == "persistent":
                # The text that was looked at again is the final one, so the verifier says again what the critic said.
                after[:, 1] += skipped[:, 1] * (is_whole or not right)
                skipped[:, 1] = 0.0
            after += ends(skipped, float(is_whole))
        mass = after
    # A draft that is not rewritten gives no pair, and after each rewrite came another, or it was the last.
    return float(mass[1 if right else slice(None), 1].sum())
