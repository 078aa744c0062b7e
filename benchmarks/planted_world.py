"""For benchmarks/planted.py: a world whose faults are known, and a policy, a critic and a reviser that live in it.

Texts are numbered, and the world knows which principles each of them breaks. The critic reads that and errs with a
given probability. Nothing else is played: `run_chain` asks, reads, decides and builds rows as in every run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.planted_form import Case
from constitution.render import default_templates
from constitution.schema import Constitution, Principle
from constitution.verdicts import reply_json
from generator.chain import run_chain
from generator.engine import Call, ChatCall, Completion, Sampling
from generator.method import REVISION, VERIFICATION, Method
from generator.seat import Seat
from records.rows import Message, Pair, Prompt, Provenance, Reject
from records.splits import prompt_id

Chance = Callable[[float], bool]
"""Whether something of this probability happens now."""

ROOT = Path(__file__).resolve().parent.parent
_TURNS = (Message(role="user", content="How do I boil an egg?"),)
PROMPT = Prompt(id=prompt_id(_TURNS), messages=_TURNS, split="train")


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    """The demo's; drafts are token ids."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(ROOT / "demo" / "model")


@lru_cache(maxsize=8)
def constitution(principles: int) -> Constitution:
    """So many principles, numbered, in the shipped wording."""
    ruled = tuple(Principle(id=f"rule-{number}", text=f"Rule {number} holds.") for number in range(principles))
    return Constitution(name="planted", templates=default_templates(), principles=ruled)


class World:
    """The texts so far, each with the set of principles that it breaks, and what happens by chance."""

    def __init__(self, case: Case, chance: Chance) -> None:
        self.case, self.chance = case, chance
        self.faults: list[frozenset[int]] = []
        self.held: dict[tuple[str, int, int], bool] = {}

    def write(self, faults: frozenset[int]) -> Completion:
        """A new text that breaks these."""
        self.faults.append(faults)
        text = f"Text {len(self.faults) - 1}."
        return Completion(text, tuple(_ids(text)), "stop", prompt_tokens=1)

    def faults_of(self, text: str) -> frozenset[int]:
        """What a text breaks; of a request, the text that it shows."""
        return self.faults[int(_found(r"Text (\d+)\.", text))]

    def draft(self) -> Completion:
        """A text with planted faults."""
        broken = (rule for rule in range(self.case.principles) if self.chance(self.case.fault_rate))
        return self.write(frozenset(broken))

    def rewrite(self, request: str, rule: int) -> Completion:
        """A text that may be mended, and may break other principles."""
        faults = set(self.faults_of(request))
        if rule in faults and self.chance(self.case.mends):
            faults.remove(rule)
        others = (other for other in range(self.case.principles) if other not in faults | {rule})
        faults.update([other for other in others if self.chance(self.case.breaks_each)])
        return self.write(frozenset(faults))

    def verdict(self, who: str, request: str, rule: int) -> Completion:
        """The truth, or its opposite."""
        breaks = rule in self.faults_of(request)
        said = reply_json("Seen.", "violates" if breaks != self._errs(who, request, rule) else "complies", 1)
        return Completion(said, (), "stop", prompt_tokens=1, counted_tokens=1)

    def _errs(self, who: str, request: str, rule: int) -> bool:
        if self.case.errors == "independent":
            return self.chance(self.case.error)
        asked = (who, int(_found(r"Text (\d+)\.", request)), rule)
        if asked not in self.held:
            self.held[asked] = self.chance(self.case.error)
        return self.held[asked]


@lru_cache(maxsize=10_000)
def _ids(text: str) -> list[int]:
    return list(tokenizer().encode(text, add_special_tokens=False))


def _found(pattern: str, text: str) -> str:
    (found,) = re.findall(pattern, text)
    return str(found)


class Policy:
    """Drafts; an engine of this machine."""

    model, context = "policy", 100_000

    def __init__(self, world: World) -> None:
        self.world, self.tokenizer = world, tokenizer()

    async def complete(self, call: Call) -> Completion:
        return self.world.draft()


class Critic:
    """Critic, reviser and verifier: a model elsewhere, so conversations need not become tokens and text again."""

    endpoint = "planted"

    def __init__(self, world: World, model: str = "critic") -> None:
        self.world, self.model = world, model

    async def chat(self, call: ChatCall) -> Completion:
        request = call.messages[0].content  # a revision goes on from the critique's conversation
        rule = int(_found(r"Rule (\d+) holds\.", request))
        if call.stage == REVISION:
            return self.world.rewrite(request, rule)
        other = self.world.case.errors == "persistent_other_verifier" and call.stage == VERIFICATION
        return self.world.verdict("verifier" if other else "critic", request, rule)


def method_of(world: World) -> Method:
    """The project's own method, with this world's models in its seats."""
    sampling = Sampling(max_tokens=100)
    policy, critic = Seat(Policy(world), sampling), Seat(Critic(world), sampling)  # type: ignore[arg-type]
    norms = constitution(world.case.principles)
    provenance = Provenance(
        run="planted", round=0, constitution=norms.name, constitution_digest=norms.digest,
        template_digest=norms.template_digest, policy=policy.author, critic=critic.author, reviser=critic.author,
        verifier=critic.author, asks=world.case.asks,
    )  # fmt: skip
    return Method(
        norms, policy, critic, critic, critic, provenance, asks=world.case.asks, draft_asks=world.case.draft_asks
    )


def truth_of(row: Pair | Reject, world: World) -> str:
    """Whether a pair is right, or of a chain without one the reason.

    `right`; `accused`: its draft breaks nothing it was flagged for; `broken`: its chosen text breaks a principle.
    """
    if isinstance(row, Reject):
        return row.reason
    flagged = {int(name.removeprefix("rule-")) for name in row.violated}
    if not flagged & world.faults_of(row.rejected[0].content):
        return "accused"
    return "broken" if world.faults_of(row.chosen[0].content) else "right"


async def chains(case: Case, count: int, chance: Chance) -> list[str]:
    """What `count` chains of the case come to, see `truth_of`."""
    found = []
    for start in range(0, count, 200):  # a new world at times, since worlds remember all their texts
        world = World(case, chance)
        method = method_of(world)
        for index in range(start, min(start + 200, count)):
            found.append(truth_of(await run_chain(PROMPT, method, index), world))
    return found


def seeded(*seeds: object) -> Chance:
    """Chance by a seed."""
    source = Random(repr(seeds))
    return lambda probability: source.random() < probability
