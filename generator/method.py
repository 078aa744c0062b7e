"""What the chains of one stage share, whatever the strategy: the norms, who sits where, and the rules."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from constitution.schema import Constitution
from generator.config import JudgeConfig
from generator.seat import Seat
from records.digest import digest_json
from records.rows import Message, Provenance, Strategy

# Later steps first: a chain that is nearly done frees its place soonest.
DRAFT, CRITIQUE, REVISION, VERIFICATION, JUDGEMENT = range(5)


@dataclass(frozen=True)
class Method:
    """The norms, who sits where, and the rules; what the settings mean is said in generator/config.py."""

    constitution: Constitution
    policy: Seat
    critic: Seat
    reviser: Seat
    verifier: Seat
    provenance: Provenance
    drafters: tuple[tuple[float, Seat], ...] = ()
    """Who drafts, each with a share of the drafts; empty: `policy` alone."""
    draw: int | None = None
    passes: int = 1
    verify_all: bool = False
    asks: int = 1
    draft_asks: int | None = None
    drafts: int = 1
    strategy: Strategy = "revision"
    margin: int = 1
    gate: JudgeConfig | None = None
    few_shots: tuple[Message, ...] = field(default=(), repr=False)
    seed: int = 0

    @property
    def judge(self) -> Seat:
        """Who compares and rates."""
        return self.critic

    def drafter(self, prompt_id: str, number: int) -> Seat:
        """Who writes a prompt's draft of this number (from 0).

        Drawn by the shares, seeded by (seed, round, prompt id, number), so a run that is repeated or resumed draws it
        again.
        """
        if not self.drafters:
            return self.policy
        shares, seats = zip(*self.drafters, strict=True)
        source = random.Random(digest_json(["drafter", self.seed, self.provenance.round, prompt_id, number]))
        return source.choices(seats, shares)[0]

    @property
    def chains_per_prompt(self) -> int:
        """Each draft is a chain of its own, but for the strategies that choose among drafts."""
        return self.drafts if self.strategy == "revision" else 1
