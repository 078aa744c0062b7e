"""From verdicts to a decision. Pure, and the only place where verdicts become a label or a reason.

Two lists decide: the verdicts on the draft and the verdicts on the final text. With more than one question a principle,
all of its answers must agree; answers that do not agree decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from records.rows import RejectReason, Verdict, VerdictName


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
