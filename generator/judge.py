"""The judge: which of two answers is better, asked in both orders, with how sure it was.

A judge that prefers whatever stands first has no opinion of the answers, so every question is asked twice with the
answers exchanged, and only what it says of a text both times counts (Zheng et al. 2023, arXiv:2306.05685, section 3.4).
Judgements name texts and not positions. The probability is that of Bai et al. 2022 (arXiv:2212.08073), section 4.1: the
judge's probabilities of the two options where it writes its answer, normalised to each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from constitution.judgements import comparison_schema, parse_comparison
from constitution.render import compare_request
from constitution.schema import Constitution
from generator.engine import Completion, Position
from generator.seat import Seat, ask_twice
from generator.together import together
from records.rows import Judgement, Message

ALTERNATIVES = 20
"""Tokens whose probability is asked for at each position; an option that is not among them counts as impossible."""

_ANSWER = re.compile(r'"better":"')


async def compare(
    judge: Seat,
    constitution: Constitution,
    question: str,
    prompt: Sequence[Message],
    texts: dict[str, str],
    *,
    stage: int,
) -> tuple[tuple[Judgement, tuple[Completion, ...]], ...]:
    """The judge's two answers, one for each order, each with the replies that it was read from.

    Args:
        judge: who is asked, each time in a fresh conversation.
        constitution: whose wording is used.
        question: what "better" means here.
        prompt: the conversation that both texts answer.
        texts: the two by name; which is named first decides nothing but the order of what is returned.
        stage: see `generator.seat.reply`.

    Raises:
        PromptTooLongError, EngineFailedError: see `generator.seat.reply`.
    """
    one, two = texts

    async def ask(a: str, b: str) -> tuple[Judgement, tuple[Completion, ...]]:
        request = compare_request(constitution, question, prompt, texts[a], texts[b])
        completions = await ask_twice(
            judge,
            (Message(role="user", content=request),),
            lambda reply: parse_comparison(reply.text, finish_reason=reply.finish_reason) is not None,
            stage=stage,
            schema=comparison_schema(),
            alternatives=ALTERNATIVES,
        )
        return _judgement(a, b, completions[-1]), completions

    return tuple(await together([ask(one, two), ask(two, one)]))


def _judgement(a: str, b: str, completion: Completion) -> Judgement:
    reply = parse_comparison(completion.text, finish_reason=completion.finish_reason)
    if reply is None:
        return Judgement(a=a, b=b, better="unparsed", critique=completion.text)
    probability = probability_of_a(completion.positions)
    return Judgement(a=a, b=b, better=reply.better, critique=reply.critique, probability=probability)


def probability_of_a(positions: Sequence[Position]) -> float | None:
    """P(A) / (P(A) + P(B)) at the token that writes a reply's answer; None where the engine gave neither.

    A token may hold more than the letter (`"A`, `A"}`), so each alternative is read as what it would have made of the
    reply. White space is left out on both sides, since tokenisers differ in where they show it.
    """
    texts = [_bare(position.text) for position in positions]
    answers = list(_ANSWER.finditer("".join(texts)))
    if not answers:
        return None
    start, end = answers[-1].end(), 0
    for position, text in zip(positions, texts, strict=True):
        before, end = end, end + len(text)
        if end > start:
            return _share_of_a(position.alternatives, "".join(texts)[before:start])
    return None


def _share_of_a(alternatives: Iterable[tuple[str, float]], head: str) -> float | None:
    """The share of A in the mass of A and B. `head` is what the token writes before the letter."""
    nats: dict[str, list[float]] = {"A": [], "B": []}
    for text, logprob in alternatives:
        letter, rest = _bare(text)[len(head) :][:1], _bare(text)[len(head) + 1 :]
        if _bare(text).startswith(head) and letter in nats and rest[:1] in ("", '"') and logprob > -math.inf:
            nats[letter].append(logprob)
    found = [*nats["A"], *nats["B"]]
    if not found or not all(map(math.isfinite, found)):
        return None
    most = max(found)
    mass_a, mass_b = (sum(math.exp(logprob - most) for logprob in nats[letter]) for letter in "AB")
    return mass_a / (mass_a + mass_b)


def _bare(text: str) -> str:
    return re.sub(r"\s", "", text)


def mean_probability(judgements: Sequence[Judgement], name: str) -> float | None:
    """The mean over all questions and orders of how probably the judge prefers the text of this name.

    None where one of them has no probability: half of the orders would bring back what asking both is to take out.
    """
    found = [
        None if one.probability is None else one.probability if one.a == name else 1 - one.probability
        for one in judgements
    ]
    known = [probability for probability in found if probability is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None
