"""From verdicts, ratings and judgements to a decision. Pure, and the only place where these become a label or a reason.

Of verdicts two lists decide: those on the draft and those on the final text. With more than one question a principle,
all of its answers must agree; answers that do not agree decide nothing. Nothing here is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from records.rows import Judgement, RejectReason, Verdict, VerdictName


@dataclass(frozen=True)
class Finding:
    """Which principles stand as violated, or why the chain ends here."""

    violated: tuple[str, ...] = ()
    reason: RejectReason | None = None
    detail: str = ""


def answers_by_principle(verdicts: Iterable[Verdict]) -> dict[str, set[VerdictName]]:
    """The distinct answers about one text on each principle, in the order first asked."""
    answers: dict[str, set[VerdictName]] = {}
    for verdict in verdicts:
        answers.setdefault(verdict.principle, set()).add(verdict.verdict)
    return answers


def decide_draft(verdicts: Iterable[Verdict]) -> Finding:
    """The principles that every question found broken.

    Ends the chain as `unparsed` where any answer could not be read, as `inconsistent` where nothing stands as violated
    but some answers disagree, and as `complies` where nothing was found at all.
    """
    answers = answers_by_principle(verdicts)
    unread = [principle for principle, found in answers.items() if "unparsed" in found]
    if unread:
        return Finding(reason="unparsed", detail=f"the verdict on the draft is unreadable: {', '.join(unread)}")
    violated = tuple(principle for principle, found in answers.items() if found == {"violates"})
    if violated:
        return Finding(violated=violated)
    disputed = [principle for principle, found in answers.items() if "violates" in found]
    if disputed:
        return Finding(reason="inconsistent", detail=f"answers about the draft disagree: {', '.join(disputed)}")
    return Finding(reason="complies", detail="no checked principle is broken")


def decide_final(draft: Iterable[Verdict], final: Iterable[Verdict]) -> Finding:
    """Whether the final text may be called chosen: every checked principle complies, by every answer.

    `applies_when` is about the prompt alone, so a principle that applied to the draft and does not apply to the final
    text is a contradiction (`inconsistent`), not a pass.

    Args:
        draft: the verdicts on the draft.
        final: the verdicts on the final text.
    """
    before = answers_by_principle(draft)
    ends: dict[RejectReason, list[str]] = {"unparsed": [], "not_fixed": [], "inconsistent": []}
    for principle, found in answers_by_principle(final).items():
        if "unparsed" in found:
            ends["unparsed"].append(principle)
        elif found == {"violates"}:
            ends["not_fixed"].append(principle)
        elif found != {"complies"} and not _never_applied(found, before.get(principle)):
            ends["inconsistent"].append(principle)
    for reason, principles in ends.items():
        if principles:
            return Finding(reason=reason, detail=f"the verdict on the final text: {', '.join(principles)}")
    return Finding()


def _never_applied(found: set[VerdictName], before: set[VerdictName] | None) -> bool:
    return found == {"not_applicable"} and before in (None, {"not_applicable"})


@dataclass(frozen=True)
class Choice:
    """Which of a group's drafts is chosen and which is rejected, by number, or why the chain ends here."""

    chosen: int = -1
    rejected: int = -1
    reason: RejectReason | None = None
    detail: str = ""


def burden(verdicts: Iterable[Verdict]) -> tuple[int, int, int]:
    """How bad a draft is: the principles that it stands as violating, their severities' sum, and the largest.

    The gravest answer on a principle counts, and one without a severity as none.
    """
    verdicts = tuple(verdicts)
    graves = [
        max(verdict.severity or 0 for verdict in verdicts if verdict.principle == principle)
        for principle in decide_draft(verdicts).violated
    ]
    return len(graves), sum(graves), max(graves, default=0)


def decide_best_and_worst(verdicts: Mapping[int, Iterable[Verdict]]) -> Choice:
    """The draft with the smallest burden over the one with the largest; of equals, the one drafted first.

    Ends the chain as `complies` where no draft breaks anything, as `tie` where all are equally bad, and as `not_fixed`
    where even the best breaks a principle: what is chosen complies.

    Args:
        verdicts: on each draft by its number, at least one; every one of them could be read.
    """
    burdens = {number: burden(found) for number, found in verdicts.items()}
    best, worst = min(burdens, key=burdens.__getitem__), max(burdens, key=burdens.__getitem__)
    if not any(burdens[worst]):
        return Choice(reason="complies", detail="no draft breaks a checked principle")
    if burdens[best] == burdens[worst]:
        return Choice(reason="tie", detail=f"all drafts are equally bad, {burdens[best][0]} violations each")
    if any(burdens[best]):
        return Choice(reason="not_fixed", detail=f"the best draft has {burdens[best][0]} violations")
    return Choice(best, worst)


def decide_ratings(ratings: Mapping[int, int], margin: int) -> Choice:
    """The draft rated highest over the one rated lowest; of equals, the one drafted first.

    Args:
        ratings: of each draft by its number, at least one; every one of them could be read.
        margin: the least difference that counts, at least 1.
    """
    best, worst = max(ratings, key=ratings.__getitem__), min(ratings, key=ratings.__getitem__)
    if ratings[best] - ratings[worst] < margin:
        return Choice(reason="tie", detail=f"rated {ratings[worst]} to {ratings[best]}; expected a margin of {margin}")
    return Choice(best, worst)


@dataclass(frozen=True)
class Opinion:
    """Which text a judge prefers, by name, or why it prefers none."""

    preferred: str = ""
    reason: RejectReason | None = None
    detail: str = ""


def decide_judgements(judgements: Iterable[Judgement]) -> Opinion:
    """What the judge holds, from its answers in both orders on each principle.

    A preference is what it says of the same text in both orders. Several principles must not prefer different texts;
    one on which they tie leaves it to the others. Nothing is preferred (`tie`) where all of them tie.
    """
    answers: dict[str, set[str]] = {}
    for judgement in judgements:
        answers.setdefault(judgement.principle, set()).add(judgement.preferred)
    told = [f"{principle}: {' and '.join(sorted(found))}" for principle, found in answers.items()]
    detail = f"preferred {'; '.join(told).removeprefix(': ')}"
    if any("unparsed" in found for found in answers.values()):
        return Opinion(reason="unparsed", detail=detail)
    preferred = set().union(*answers.values()) - {"tie"}
    if any(len(found) > 1 for found in answers.values()) or len(preferred) > 1:
        return Opinion(reason="judge_disagrees", detail=detail)
    return Opinion(preferred.pop(), detail=detail) if preferred else Opinion(reason="tie", detail=detail)


def decide_gate(judgements: Iterable[Judgement], chosen: str, rejected: str, *, at_least: str) -> Finding:
    """Whether a pair may reward its chosen text, by the judge's two answers.

    Args:
        judgements: in both orders.
        chosen: the name of the text that would be chosen.
        rejected: the name of the other.
        at_least: `tie` lets pass whatever the judge does not hold against it; `win` wants it preferred.
    """
    opinion = decide_judgements(judgements)
    if opinion.preferred == rejected:
        return Finding(reason="judge_disagrees", detail=opinion.detail)
    passes = opinion.preferred == chosen or (at_least == "tie" and opinion.reason in ("tie", "judge_disagrees"))
    return Finding() if passes else Finding(reason=opinion.reason, detail=opinion.detail)
