"""How good is a critic? Its answers on cases whose right answer is known, as rates with their intervals.

The prompt is the unit of all intervals (records/intervals.py). `not_applicable` says that the principle is not
broken. Answers that could not be read are counted and enter no rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from constitution.render import critique_request, verify_request
from constitution.schema import Constitution
from evaluation.critic_cases import ComparisonCase, VerdictCase
from generator.engine import EngineFailedError, PromptTooLongError
from generator.seat import Seat, ask_verdict
from records.digest import digest_json
from records.intervals import rate_by_prompt
from records.rows import Message, VerdictName
from records.strict import Strict

Said = VerdictName | Literal["too_long", "engine_error"]
Preferred = Literal["better", "worse", "tie", "unparsed"]
_STAGE = 1  # all questions are of one kind, so nothing waits for anything else


class VerdictAnswers(Strict):
    """What the critic said of one draft: as critic first, then in the words of each verification."""

    case: VerdictCase
    said: tuple[Said, ...]


class ComparisonAnswers(Strict):
    """What the critic prefers of two answers, the better one shown first and then second."""

    case: ComparisonCase
    preferred: tuple[Preferred, ...] = ()
    """Empty where it could not be asked."""


async def ask_about(
    case: VerdictCase, constitution: Constitution, critic: Seat, few_shots: Sequence[Message], asks: int
) -> VerdictAnswers:
    """The critic's verdicts on a draft, each in a fresh conversation.

    Args:
        case: the draft and the principle.
        constitution: whose principle and wordings.
        critic: who is asked.
        few_shots: the worked examples that it is shown as critic.
        asks: how many wordings of the verification are asked too.
    """
    principle = next(one for one in constitution.principles if one.id == case.principle)
    first = critique_request(constitution, principle, case.prompt, case.draft)
    again = [verify_request(constitution, principle, case.prompt, case.draft, ask=ask) for ask in range(asks)]
    said: list[Said] = []
    for shots, request in ((few_shots, first), *(((), request) for request in again)):
        try:
            turns = (*shots, Message(role="user", content=request))
            verdict, _ = await ask_verdict(critic, principle, turns, stage=_STAGE)
            said.append(verdict.verdict)
        except PromptTooLongError:
            said.append("too_long")
        except EngineFailedError:
            said.append("engine_error")
    return VerdictAnswers(case=case, said=tuple(said))


def verdict_figures(answers: Sequence[VerdictAnswers]) -> dict[str, Any]:
    """How right the critic is on drafts, by the words it was asked in and by principle, and whether errors repeat.

    `repeated` is the share of the critique's errors that the verification's first wording makes again, and
    `new_errors` the share that it gets wrong of what the critique got right. Were errors independent, both were alike;
    what is far more often repeated than new persists, and asking again does not help against it.
    """
    wordings = max((len(one.said) for one in answers), default=0)
    names = ["critique", *(f"verification {number}" for number in range(1, wordings))]
    principles = dict.fromkeys(one.case.principle for one in answers)
    found: dict[str, Any] = {
        "cases": len(answers),
        "breaking": sum(one.case.violates for one in answers),
        "by_wording": {name: _of_wording(answers, place) for place, name in enumerate(names)},
        "by_principle": {
            name: _of_wording([one for one in answers if one.case.principle == name], 0) for name in principles
        },
    }
    if wordings > 1:
        wrong = [one for one in answers if _right(one, 0) is False]
        right = [one for one in answers if _right(one, 0)]
        found |= _rate("repeated", wrong, lambda one: _not(_right(one, 1)))
        found |= _rate("new_errors", right, lambda one: _not(_right(one, 1)))
    return found


def _of_wording(answers: Sequence[VerdictAnswers], place: int) -> dict[str, Any]:
    broken = [one for one in answers if one.case.violates]
    fine = [one for one in answers if not one.case.violates]
    return {
        **_rate("accuracy", answers, lambda one: _right(one, place)),
        **_rate("missed", broken, lambda one: _not(_right(one, place))),
        **_rate("accused", fine, lambda one: _not(_right(one, place))),
        "unparsed": sum(one.said[place] == "unparsed" for one in answers),
        "not_asked": sum(one.said[place] in ("too_long", "engine_error") for one in answers),
    }


def _right(one: VerdictAnswers, place: int) -> bool | None:
    said = one.said[place]
    if said in ("unparsed", "too_long", "engine_error"):
        return None
    return (said == "violates") == one.case.violates


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def comparison_figures(answers: Sequence[ComparisonAnswers]) -> dict[str, Any]:
    """How right and how steady the critic is on pairs of answers.

    `consistent` is the share of pairs on which it says the same of the texts in both orders, ties too; `accuracy` the
    share on which it prefers the better text in both; `wrong` the worse one in both; `right_of_decided` leaves out
    those on which it prefers none. `first_shown` is how often it takes the text that is shown first, of all its
    preferences: half, where the order means nothing to it.
    """
    shown_first = [
        (one, preferred == ("better", "worse")[order])
        for one in answers
        for order, preferred in enumerate(one.preferred)
        if preferred in ("better", "worse")
    ]
    first = rate_by_prompt(_grouped((_key(one.case), taken) for one, taken in shown_first))
    return {
        "cases": len(answers),
        **_rate("accuracy", answers, lambda one: _both(one, "better")),
        **_rate("wrong", answers, lambda one: _both(one, "worse")),
        **_rate("consistent", answers, lambda one: len(set(one.preferred)) == 1 if _read(one) else None),
        **_rate("right_of_decided", answers, _decided),
        "first_shown": first.rate,
        "first_shown_ci": list(first.interval) if first.interval else None,
        "unparsed": sum("unparsed" in one.preferred for one in answers),
        "not_asked": sum(not one.preferred for one in answers),
    }


def _read(one: ComparisonAnswers) -> bool:
    return len(one.preferred) == 2 and "unparsed" not in one.preferred


def _both(one: ComparisonAnswers, name: Preferred) -> bool | None:
    return set(one.preferred) == {name} if _read(one) else None


def _decided(one: ComparisonAnswers) -> bool | None:
    return _both(one, "better") if _both(one, "better") or _both(one, "worse") else None


def _rate(name: str, answers: Sequence[Any], reading: Callable[[Any], bool | None]) -> dict[str, Any]:
    found = [(_key(one.case), value) for one in answers if (value := reading(one)) is not None]
    estimate = rate_by_prompt(_grouped(found))
    return {name: estimate.rate, f"{name}_ci": list(estimate.interval) if estimate.interval else None}


def _key(case: VerdictCase | ComparisonCase) -> str:
    return digest_json([message.model_dump() for message in case.prompt])


def _grouped(outcomes: Iterable[tuple[str, bool]]) -> dict[str, list[bool]]:
    found: dict[str, list[bool]] = {}
    for key, value in outcomes:
        found.setdefault(key, []).append(value)
    return found
