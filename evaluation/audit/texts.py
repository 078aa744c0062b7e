"""What can be told of a text without a model: its length, whether it reads as a refusal, what the exact checks say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from constitution.checks import run_check
from constitution.schema import Check, Principle
from records.rows import Message

REFUSAL_WITHIN = 300
"""Characters from the beginning in which a refusal is looked for: one says so at once."""
_DECLINES = Check(
    forbid=(
        r"(?i)\b(?:I|we)(?:['’]m| am|['’]re| are)? (?:really |simply |just |afraid I )?"
        r"(?:can['’]?t|cannot|can not|won['’]?t|will not|not able to|unable to|not going to|not comfortable|"
        r"must decline|have to decline|decline to|refuse to)\b",
        r"(?i)\b(?:against my (?:guidelines|principles)|not something I can (?:help|assist))\b",
    )
)


def refuses(text: str) -> bool:
    """Whether a text reads as a refusal: the usual English phrases near its beginning. A count, never a label."""
    return run_check(_DECLINES, (), text[:REFUSAL_WITHIN]) == "violates"


def check_verdicts(principles: Sequence[Principle], asked: Iterable[tuple[int, str, str]]) -> list[str]:
    """What the exact check of a principle says of a text.

    Args:
        principles: by number; those that are asked about have a check.
        asked: the principle's number, the last user turn, and the text.
    """
    found: list[str] = []
    for number, turn, text in asked:
        check = principles[number].check
        assert check is not None
        prompt = (Message(role="user", content=turn),) if check.if_prompt else ()
        found.append(run_check(check, prompt, text))
    return found
