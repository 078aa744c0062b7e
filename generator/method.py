"""What the chains of one stage share, whatever the strategy: the norms, who sits where, and the rules."""

from __future__ import annotations

from dataclasses import dataclass, field

from constitution.schema import Constitution
from generator.config import JudgeConfig
from generator.seat import Seat
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
    draw: int | None = None
    verify_all: bool = False
    asks: int = 1
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

    @property
    def chains_per_prompt(self) -> int:
        """Each draft is a chain of its own, but for the strategies that choose among drafts."""
        return self.drafts if self.strategy == "revision" else 1
