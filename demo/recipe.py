"""What the demo model is taught: a table of roles, each a way to draw one (conversation, reply) row.

Adding a role is adding a row to `ROLES` and building again (`make demo-model`). Every conversation is written by the
functions that the loop itself uses, so the model meets in a run exactly what it met in training. No row speaks of a
question that a validation or test prompt asks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

from constitution.load import load_constitution
from constitution.render import (
    compare_request,
    comparison_question,
    critique_request,
    fenced,
    revise_request,
    verify_request,
)
from constitution.schema import Constitution
from constitution.verdicts import reply_json
from demo import words
from demo.grammar import (
    FLATTERY,
    HARM,
    INSULT,
    PRINCIPLES,
    PROMISE,
    Answer,
    Question,
    draft_answer,
    faults_of,
    mend,
    question,
    scrambled_answer,
    severity_of,
    text_of,
)
from demo.prompts import Combo, combos, held_out_combos
from records.rows import Message

HARMFUL_SHARE, SYSTEM_SHARE, SECOND_TURN_SHARE = 0.28, 0.1, 0.1

_FAULT = {INSULT: "'{}' is an insult.", PROMISE: "'{}' is too sure.", FLATTERY: "'{}' is flattery."}
_NO_FAULT = {INSULT: "No insult.", PROMISE: "No such promise.", FLATTERY: "No flattery."}


@dataclass(frozen=True)
class Row:
    """One thing to learn: after `prompt`, say `answer`. `asked` is the question that the conversation is about."""

    role: str
    prompt: tuple[Message, ...]
    answer: str
    asked: Question


@dataclass(frozen=True)
class Role:
    """A kind of row: its name, its share of the corpus, and how one is drawn."""

    name: str
    share: float
    draw: Callable[[Random], tuple[Question, tuple[Message, ...], str]]


Drawn = tuple[Question, tuple[Message, ...], str]


@cache
def demo_constitution() -> Constitution:
    """The constitution the model learns to judge by, whose wordings are part of what it learns."""
    return load_constitution("demo")


@cache
def _taught(*, harmful: bool) -> tuple[Combo, ...]:
    return tuple((act, thing) for act, thing in combos(harmful=harmful) if (act.verb, thing) not in held_out_combos())


def ask(random: Random, *, harmful: bool | None = None, kind: str | None = None) -> Question:
    """A question that no held-out prompt asks.

    Args:
        random: source of all draws.
        harmful: whether it asks for harm; drawn when absent.
        kind: "plain", "system" or "second_turn"; drawn when absent.
    """
    shares = (1 - SYSTEM_SHARE - SECOND_TURN_SHARE, SYSTEM_SHARE, SECOND_TURN_SHARE)
    kind = kind or random.choices(("plain", "system", "second_turn"), shares)[0]
    harmful = random.random() < HARMFUL_SHARE if harmful is None else harmful
    act, thing = random.choice(_taught(harmful=harmful))
    system = random.choice(sorted(words.SYSTEM_LINES)) if kind == "system" else ""
    first = random.choice(_taught(harmful=False)) if kind == "second_turn" else None
    return question(random, act, thing, system=system, first=first)


def judged_answer(random: Random, asked: Question) -> Answer:
    """An answer as a critic may meet it: a draft, a partly or wholly mended one, or an odd mixture."""
    kind = random.random()
    if kind < 0.3:
        return scrambled_answer(random, asked)
    answer = draft_answer(random, asked)
    if kind < 0.6:
        for principle in sorted(faults_of(answer)):
            if random.random() < 0.6 and principle in faults_of(answer):
                answer = mend(random, asked, answer, principle)
    return answer


def critic_reply(asked: Question, answer: Answer, principle: str) -> str:
    """The true JSON verdict on one principle; the critique names the first words at fault."""
    broken = principle in faults_of(answer)
    severity = severity_of(asked, answer, principle)
    if principle == HARM and not asked.act.harmful:
        return reply_json(f"To {asked.act.verb} is harmless.", "not_applicable", 0)
    if principle == HARM:
        says = f"It helps to {asked.act.verb}." if broken else f"It does not help to {asked.act.verb}."
    elif broken:
        sentence = next(sentence for sentence in answer if sentence.kind == principle)
        says = _FAULT[principle].format(sentence.phrase.words if sentence.phrase else "")
    else:
        says = _NO_FAULT[principle]
    return reply_json(says, "violates" if broken else "complies", severity)


def _draft(random: Random, *, harmful: bool | None, kind: str, comply: bool | None = None) -> Drawn:
    asked = ask(random, harmful=harmful, kind=kind)
    return asked, asked.messages, text_of(draft_answer(random, asked, comply=comply))


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def _critique(random: Random) -> Drawn:
    constitution, asked, id = demo_constitution(), ask(random), random.choice(PRINCIPLES)
    answer = judged_answer(random, asked)
    request = critique_request(constitution, constitution.principle(id), asked.messages, text_of(answer))
    return asked, (_user(request),), critic_reply(asked, answer, id)


def _verify(random: Random) -> Drawn:
    constitution, asked, id = demo_constitution(), ask(random), random.choice(PRINCIPLES)
    answer, wording = judged_answer(random, asked), random.randrange(len(constitution.templates.verify))
    request = verify_request(constitution, constitution.principle(id), asked.messages, text_of(answer), ask=wording)
    return asked, (_user(request),), critic_reply(asked, answer, id)


def _revise(random: Random) -> Drawn:
    constitution, asked = demo_constitution(), ask(random, harmful=random.random() < 0.4)
    answer = judged_answer(random, asked)
    while not faults_of(answer):
        answer = judged_answer(random, asked)
    id = random.choice(sorted(faults_of(answer)))
    principle, text = constitution.principle(id), text_of(answer)
    conversation = (
        _user(critique_request(constitution, principle, asked.messages, text)),
        Message(role="assistant", content=critic_reply(asked, answer, id)),
        _user(revise_request(constitution, principle, asked.messages, text)),
    )
    return asked, conversation, text_of(mend(random, asked, answer, id))


def comparison_wording(constitution: Constitution, principle: str | None) -> str:
    """The request of a comparison, on one principle or on all of them."""
    return comparison_question(constitution.principle(principle)) if principle else "Which is better?"


def compare_reply(first: Answer, second: Answer, principle: str | None) -> str:
    """The true JSON of a comparison: fewer broken principles are better, and complying with harm outweighs all."""
    faults = [faults_of(answer) & ({principle} if principle else set(PRINCIPLES)) for answer in (first, second)]
    shown = [", ".join(id.split("-", 1)[1] for id in PRINCIPLES if id in broken) or "none" for broken in faults]
    burden = [len(broken) + 3 * (HARM in broken) for broken in faults]
    better = "tie" if burden[0] == burden[1] else ("A" if burden[0] < burden[1] else "B")
    # No white space between keys, as in every reply under constrained decoding.
    return json.dumps({"critique": f"A: {shown[0]}. B: {shown[1]}.", "better": better}, separators=(",", ":"))


def _compare(random: Random) -> Drawn:
    constitution, asked = demo_constitution(), ask(random, kind="plain")
    first = judged_answer(random, asked)
    faults = sorted(faults_of(first))
    mended = mend(random, asked, first, random.choice(faults)) if faults else first
    second = mended if random.random() < 0.4 else judged_answer(random, asked)
    if random.random() < 0.5:
        first, second = second, first
    principle = random.choice([None, *PRINCIPLES])
    wording = comparison_wording(constitution, principle)
    request = compare_request(constitution, wording, asked.messages, text_of(first), text_of(second))
    return asked, (_user(request),), compare_reply(first, second, principle)


def _repeat(random: Random) -> Drawn:
    """Say a row of words again: not asked for in a run, but what revising and naming words at fault rest on."""
    said = " ".join(random.choices(_vocabulary(), k=random.randint(4, 20)))
    return ask(random, kind="plain"), (_user(f"Repeat this.\n{fenced(said)}"),), said


@cache
def _vocabulary() -> tuple[str, ...]:
    ways = [way for act in (*words.BENIGN_ACTS, *words.HARMFUL_ACTS) for way in (act.verb, *act.ways)]
    phrases = (*words.INSULTS_BEFORE, *words.INSULTS_AFTER, *words.FLATTERY, *words.PROMISES)
    said = " ".join([*words.THINGS, *ways, *(f"{phrase.text} {phrase.mended}" for phrase in phrases)])
    return tuple(sorted(set(said.split())))


ROLES = (
    Role("draft", 0.11, lambda random: _draft(random, harmful=False, kind="plain")),
    Role("comply", 0.03, lambda random: _draft(random, harmful=True, kind="plain", comply=True)),
    Role("refuse", 0.02, lambda random: _draft(random, harmful=True, kind="plain", comply=False)),
    Role("system", 0.03, lambda random: _draft(random, harmful=None, kind="system")),
    Role("second_turn", 0.03, lambda random: _draft(random, harmful=None, kind="second_turn")),
    Role("critique", 0.24, _critique),
    Role("verify", 0.26, _verify),
    Role("revise", 0.16, _revise),
    Role("compare", 0.07, _compare),
    Role("repeat", 0.05, _repeat),
)


def corpus(seed: int, n_rows: int) -> Iterator[Row]:
    """Rows of every role at its share, drawn from one seed; the first n of a longer corpus are the shorter one."""
    random = Random(seed)
    shares = [role.share for role in ROLES]
    for _ in range(n_rows):
        role = random.choices(ROLES, shares)[0]
        asked, prompt, answer = role.draw(random)
        yield Row(role.name, prompt, answer, asked)
