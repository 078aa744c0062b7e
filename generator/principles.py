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


def draw_passes(
    constitution: Constitution, draw: int | None, seeds: Sequence[int | str], passes: int = 1
) -> tuple[tuple[Principle, ...], ...]:
    """The principles of each pass over a chain's text, in the constitution's order.

    Drawn without replacement with chances proportional to weight: within a pass, and from pass to pass until all have
    had their turn; then all are drawn from again. The same seeds give the same draw, and fewer passes its beginning.

    Args:
        constitution: whose principles.
        draw: how many in a pass; None asks all in every pass.
        seeds: what tells the chain apart from others.
        passes: how many.

    Source: Efraimidis and Spirakis 2006, weighted sampling without replacement by keys u ** (1 / weight).
    """
    principles = constitution.principles
    if draw is None or draw >= len(principles):
        return (principles,) * passes
    found: list[tuple[Principle, ...]] = []
    while len(found) < passes:
        source = random.Random(digest_json([*seeds, *(["again", len(found)] if found else [])]))
        keys = {principle.id: math.log(source.random() or 1e-300) / principle.weight for principle in principles}
        order = sorted(keys, key=keys.__getitem__, reverse=True)
        for start in range(0, len(order), draw):
            drawn = order[start : start + draw]
            found.append(tuple(principle for principle in principles if principle.id in drawn))
    return tuple(found[:passes])


def few_shot_turns(constitution: Constitution, count: int) -> tuple[Message, ...]:
    """Worked examples as turns before the critic's question: request, reply and, where there is one, the rewrite.

    The same turns for every prompt and principle, so they are computed once and served from the prefix cache.
    Violating and complying examples take turns, one principle after the other, so the critic is not taught one answer.
    """
    turns: list[Message] = []
    for principle, example in shown_examples(constitution, count):
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


def shown_examples(constitution: Constitution, count: int) -> list[tuple[Principle, Example]]:
    """The examples that `few_shot_turns` shows, each with its principle."""
    told = [
        [
            (principle, example)
            for principle in constitution.principles
            for example in principle.examples
            if wanted(example)
        ]
        for wanted in (lambda example: example.violates, lambda example: not example.violates)
    ]
    return [pair for turn in range(max(map(len, told), default=0)) for pair in _at(told, turn)][:count]


def _at(told: Sequence[Sequence[tuple[Principle, Example]]], turn: int) -> list[tuple[Principle, Example]]:
    return [column[turn] for column in told if turn < len(column)]


def passes_of(prompt: Prompt, method: Method, index: int = 0) -> tuple[tuple[Principle, ...], ...]:
    """The principles of each pass of one of a prompt's chains; every chain has a draw of its own."""
    seeds: list[int | str] = [method.seed, method.provenance.round, prompt.id, *([index] if index else [])]
    return draw_passes(method.constitution, method.draw, seeds, method.passes)


def principles_of(prompt: Prompt, method: Method, index: int = 0) -> tuple[Principle, ...]:
    """The principles that the drafts of one of a prompt's groups are judged by."""
    (principles,) = passes_of(prompt, method, index)
    return principles
