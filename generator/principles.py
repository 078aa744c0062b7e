"""Which principles a chain asks about, and the worked examples its critic sees first."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from constitution.render import critique_request, revise_request
from constitution.schema import Constitution, Example, Principle
from constitution.verdicts import reply_json
from generator.method import Method
from records.digest import digest_json
from records.rows import Message, Prompt


def draw_principles(
    constitution: Constitution, draw: int | None, *, seed: int, round: int, prompt_id: str, index: int = 0
) -> tuple[Principle, ...]:
    """The principles of one chain, in the constitution's order.

    Drawn without replacement with chances proportional to weight, seeded by (seed, round, prompt id, index), so the
    same chain gets the same draw whenever the run is repeated or resumed.

    Args:
        constitution: whose principles.
        draw: how many; None asks all.
        seed: the run's seed.
        round: the round's index.
        prompt_id: the prompt's id.
        index: which of the prompt's chains; each has a draw of its own.

    Source: Efraimidis and Spirakis 2006, weighted sampling without replacement by keys u ** (1 / weight).
    """
    principles = constitution.principles
    if draw is None or draw >= len(principles):
        return principles
    source = random.Random(digest_json([seed, round, prompt_id, *([index] if index else [])]))
    keys = {principle.id: math.log(source.random() or 1e-300) / principle.weight for principle in principles}
    drawn = {principle.id for principle in sorted(principles, key=lambda one: keys[one.id], reverse=True)[:draw]}
    return tuple(principle for principle in principles if principle.id in drawn)


def few_shot_turns(constitution: Constitution, count: int) -> tuple[Message, ...]:
    """Worked examples as turns before the critic's question: request, reply and, where there is one, the rewrite.

    The same turns for every prompt and principle, so they are computed once and served from the prefix cache.
    Violating and complying examples take turns, one principle after the other, so the critic is not taught one answer.
    """
    turns: list[Message] = []
    for principle, example in _balanced_examples(constitution)[:count]:
        prompt = example.conversation
        verdict = "violates" if example.violates else "complies"
        severity = example.severity if example.severity is not None else int(example.violates)
        turns += [
            Message(role="user", content=critique_request(constitution, principle, prompt, example.draft)),
            Message(role="assistant", content=reply_json(example.critique, verdict, severity)),
        ]
        if example.violates and example.revision:
            request = revise_request(constitution, principle, prompt, example.draft)
            turns += [
                Message(role="user", content=request),
                Message(role="assistant", content=example.revision),
            ]
    return tuple(turns)


def _balanced_examples(constitution: Constitution) -> list[tuple[Principle, Example]]:
    told = [
        [
            (principle, example)
            for principle in constitution.principles
            for example in principle.examples
            if wanted(example)
        ]
        for wanted in (lambda example: example.violates, lambda example: not example.violates)
    ]
    return [pair for turn in range(max(map(len, told), default=0)) for pair in _at(told, turn)]


def _at(told: Sequence[Sequence[tuple[Principle, Example]]], turn: int) -> list[tuple[Principle, Example]]:
    return [column[turn] for column in told if turn < len(column)]


def principles_of(prompt: Prompt, method: Method, index: int = 0) -> tuple[Principle, ...]:
    """The principles of one of a prompt's chains, as `draw_principles` draws them for this stage."""
    round = method.provenance.round
    return draw_principles(
        method.constitution, method.draw, seed=method.seed, round=round, prompt_id=prompt.id, index=index
    )
