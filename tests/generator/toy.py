"""A toy constitution, prompts for it, and chains whose every reply is scripted by stage and principle."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from constitution.render import default_templates
from constitution.schema import Constitution, Example, Principle
from generator.engine import Adapter, Call, Sampling
from generator.generate import run_one
from generator.method import CRITIQUE, DRAFT, JUDGEMENT, REVISION, Method
from generator.seat import Seat
from records.rows import Message, Pair, Prompt, Provenance, Reject
from records.splits import prompt_id
from tests.scripted import Answer, ScriptedEngine, author_of, user_turn

CONSTITUTION = Constitution(
    name="toy",
    templates=default_templates(),
    principles=(
        Principle(
            id="polite",
            text="The answer never says fool.",
            critique="Is anybody called names in it?",
            examples=(
                Example(
                    context=(Message(role="user", content="Hi."), Message(role="assistant", content="Hello.")),
                    prompt="Help?",
                    draft="No, fool.",
                    violates=True,
                    critique="It says fool.",
                    revision="Gladly.",
                ),
                Example(prompt="Help?", draft="Gladly.", violates=False, critique="It is friendly."),
            ),
        ),
        Principle(id="modest", text="The answer promises nothing.", applies_when="Somebody asks for a promise."),
        Principle(id="kind", text="The answer is kind to animals."),
    ),
)
DRAFT_TEXT, FINAL_TEXT = "Boil it, fool, and surely kick the cat.", "Boil it, and stroke the cat."
ADAPTER = Adapter(Path("adapter"), "a" * 64)
Critic = Callable[[str, str, bool, int], str]
"""Verdict by (principle, request, whether it is a verification, how often this was asked before)."""
Reviser = Callable[[str, str, int], Any]


def prompt(text: str = "How do I boil an egg?", **columns: Any) -> Prompt:
    messages = (Message(role="user", content=text),)
    return Prompt(**{"id": prompt_id(messages), "messages": messages, "split": "train", **columns})


def reply_of(verdict: str, reasoning: str = "Seen.", severity: int = 2) -> str:
    if verdict == "unparsed":
        return "It is hard to say."
    return json.dumps({"critique": reasoning, "verdict": verdict, "severity": severity})


def principle_in(turn: str) -> str:
    """The principle that a request is about, by its text or its own critique request."""
    named = [
        principle.id
        for principle in CONSTITUTION.principles
        if principle.text in turn or (principle.critique and principle.critique in turn)
    ]
    assert len(named) == 1, (named, turn)
    return named[0]


def honest(principle: str, request: str, verifying: bool, before: int) -> str:
    """Finds all principles broken in the draft, and none in any other text."""
    return "violates" if DRAFT_TEXT in request else "complies"


def revised(principle: str, request: str, before: int) -> str:
    return FINAL_TEXT


def fair(a: str, b: str) -> str:
    """Prefers any text to the draft that breaks all principles."""
    return "tie" if a == b else "B" if a == DRAFT_TEXT else "A"


def judged_texts(turn: str) -> list[str]:
    """The answers that a request shows, in order; no text of this world holds a fence."""
    found = re.findall(r"(?s)<<<\n(.*?)\n>>>", turn)
    return found[-2:] if "Answer B:" in turn else found[-1:]


def judgement_reply(better: str) -> str:
    return json.dumps({"critique": "Compared.", "better": better}) if better in ("A", "B", "tie") else better


def rating_reply(rating: Any) -> str:
    return json.dumps({"critique": "Rated.", "rating": rating}) if isinstance(rating, int) else rating


def script(
    draft: Any = DRAFT_TEXT,
    critic: Critic = honest,
    revise: Reviser = revised,
    judge: Callable[[str, str], str] = fair,
    rate: Callable[[str], Any] = lambda text: 1 if text == DRAFT_TEXT else 5,
) -> Answer:
    """Replies by stage. `draft` is one text, the texts of a prompt's drafts in turn, or a function of the prompt."""
    asked: Counter[Any] = Counter()

    def answer(text: str, call: Call) -> Any:
        if call.stage == DRAFT:
            asked[text] += 1
            return draft[asked[text] - 1] if isinstance(draft, list) else draft(text) if callable(draft) else draft
        turn = user_turn(text)
        if call.stage == JUDGEMENT:
            shown = judged_texts(turn)
            return judgement_reply(judge(*shown)) if len(shown) == 2 else rating_reply(rate(*shown))
        principle = principle_in(turn)
        key = (call.stage, principle, "" if call.stage == REVISION else turn)
        asked[key] += 1
        if call.stage == REVISION:
            return revise(principle, turn, asked[key] - 1)
        verdict = critic(principle, turn, call.stage != CRITIQUE, asked[key] - 1)
        return reply_of(verdict) if verdict in ("violates", "complies", "not_applicable", "unparsed") else verdict

    return answer


def provenance(**columns: Any) -> Provenance:
    author = author_of("scripted")
    known = {
        "run": "toy",
        "round": 0,
        "constitution": CONSTITUTION.name,
        "constitution_digest": CONSTITUTION.digest,
        "template_digest": CONSTITUTION.template_digest,
        "policy": author,
        "critic": author,
        "reviser": author,
        "verifier": author,
        "asks": 1,
    }
    return Provenance.model_validate(known | columns)


def method_of(answer: Answer, *, max_tokens: int = 2000, context: int = 100_000, **settings: Any) -> Method:
    """One engine in all seats: the policy with the adapter, the others without."""
    engine = ScriptedEngine(answer, context=context)
    base = Seat(engine, Sampling(max_tokens=max_tokens))
    policy = Seat(engine, Sampling(max_tokens=max_tokens), adapter=ADAPTER)
    seats = {"policy": policy, "critic": base, "reviser": base, "verifier": base}
    return Method(**{"constitution": CONSTITUTION, "provenance": provenance(), **seats, **settings})


def outcome_of(answer: Answer, asked: Prompt | None = None, **settings: Any) -> Pair | Reject:
    """The row of the first chain of a prompt, by the strategy that the settings name."""
    return asyncio.run(run_one(asked or prompt(), 0, method_of(answer, **settings)))


def verdict_on(final=None, draft=None):
    """A critic that is honest but for the named principles on the draft and on any other text."""

    def critic(principle, request, verifying, before):
        changed = draft if DRAFT_TEXT in request else final
        return (changed or {}).get(principle) or honest(principle, request, verifying, before)

    return critic
