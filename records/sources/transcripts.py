r"""Flat dialogues as turns: `\n\nHuman: ...\n\nAssistant: ...` and `User: ...\nAssistant: ...`.

A turn begins with its speaker's mark and goes on to the next mark of the same family, so paragraphs, colons and blank
lines stay in it. One space after the colon belongs to the mark; everything else is text, to the letter.
"""

from __future__ import annotations

import re

from records.rows import Message, Role
from records.sources.sides import RowProblem

# By the person's name: how a dialogue begins, and what begins each turn. In the first family turns are a blank line
# apart, so `\nAssistant:` inside one is text.
_HUMAN = re.compile(r"\A\s*(?:System:.*?\n\n)?Human:", re.DOTALL)
_USER = re.compile(r"\A\s*(?:System:.*?\n)?User:", re.DOTALL)
_FAMILIES = (
    (_HUMAN, re.compile(r"(?:\A\s*|\n\n)(System|Human|Assistant): ?")),
    (_USER, re.compile(r"(?:\A\s*|\n\n?)(System|User|Assistant): ?")),
)
_ROLES: dict[str, Role] = {"System": "system", "Human": "user", "User": "user", "Assistant": "assistant"}


def is_transcript(text: str) -> bool:
    """Whether a text begins as a flat dialogue does, with a person's turn or a system line before it."""
    return _marks(text) is not None


def is_open_transcript(text: str) -> bool:
    """Whether a text is a whole dialogue that ends with an empty `Assistant:`, which asks to be continued.

    Such a prompt has been templated already; as the text of a user turn it would be templated twice.
    """
    return text.rstrip().endswith("Assistant:") and is_transcript(text) and _turns(text)[-1] == ("assistant", "")


def transcript_turns(text: str) -> tuple[Message, ...]:
    """The turns of a flat dialogue; an empty `Assistant:` at the end is no turn.

    Raises:
        RowProblem: the text does not begin with `Human:` or `User:`.
    """
    if not is_transcript(text):
        raise RowProblem("turns", f"is no dialogue (begins {text[:40]!r}); expected Human: or User: at the beginning")
    turns = _turns(text)
    if turns[-1] == ("assistant", ""):
        turns.pop()
    return tuple(Message(role=role, content=content) for role, content in turns)


def _marks(text: str) -> re.Pattern[str] | None:
    """The marks of the family whose person speaks first: behind a system line the other's mark may be text."""
    found = [(begin.end(), marks) for begins, marks in _FAMILIES if (begin := begins.match(text))]
    return min(found, key=lambda one: one[0])[1] if found else None


def _turns(text: str) -> list[tuple[Role, str]]:
    marks = _marks(text)
    assert marks is not None
    parts = marks.split(text)
    turns = [(_ROLES[mark], content) for mark, content in zip(parts[1::2], parts[2::2], strict=True)]
    role, content = turns[-1]
    # Sets differ in the white space after the colon that asks for an answer.
    return [*turns[:-1], (role, content if content.strip() else "")]
