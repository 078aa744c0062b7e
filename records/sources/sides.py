"""The three sides of a preference row as conversations: what trainer and importer hold every row to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from records.markdown import one_line
from records.rows import Message

RowReason = Literal[
    "unreadable",  # the file's line or row is not what its kind holds
    "no_column",  # a column is absent or empty
    "not_text",  # a column holds another kind of value than it should
    "turns",  # the turns are not user and assistant in turn, one assistant turn a side
    "empty",  # a side is white space
    "same_answers",  # chosen equals rejected
    "no_common_prompt",  # there is no prompt, and the sides share no turns
    "rating",  # ratings are absent, no numbers, or contradict the order of the sides
    "id_twice",  # another row of this project's own has the same id
    "held_out",  # the row belongs to a split that must not train
]


class RowProblem(Exception):
    """What is wrong with one row, in words that fit every row with the same fault, under one of the closed set."""

    def __init__(self, reason: RowReason, message: str) -> None:
        # Column names and values of files stand in it, which may hold what moves a terminal's cursor.
        super().__init__(one_line(message))
        self.reason: RowReason = reason


def messages_of(name: str, turns: Sequence[Any]) -> tuple[Message, ...]:
    """A column's list of mappings (or of messages, which stay) as messages.

    Raises:
        RowProblem: a turn holds anything but a known role and a text.
    """
    messages = []
    for turn in turns:
        if isinstance(turn, Message):
            messages.append(turn)
            continue
        # Columnar files give every turn every key that any turn has, as null.
        held = {key: value for key, value in turn.items() if value is not None} if isinstance(turn, dict) else {}
        if set(held) != {"role", "content"} or not isinstance(held["content"], str):
            found = ", ".join(map(str, held)) if isinstance(turn, dict) else type(turn).__name__
            raise RowProblem(
                "turns", f"a turn of {name} holds {found or 'nothing'}; expected role and content, both text"
            )
        if held["role"] not in ("system", "user", "assistant"):
            raise RowProblem("turns", f"a turn of {name} has role {held['role']!r}; expected system, user or assistant")
        messages.append(Message(role=held["role"], content=held["content"]))
    return tuple(messages)


def check_sides(prompt: Sequence[Message], chosen: Sequence[Message], rejected: Sequence[Message]) -> None:
    """Hold a row to its shape: a prompt that ends with a user turn, and one assistant turn with text on each side.

    Raises:
        RowProblem: it has another shape; names each side that is wrong.
    """
    found = list(_faults(prompt, chosen, rejected))
    if found:
        raise RowProblem(found[0][0], "; ".join(message for _, message in found))


def _faults(
    prompt: Sequence[Message], chosen: Sequence[Message], rejected: Sequence[Message]
) -> Iterator[tuple[RowReason, str]]:
    roles = [message.role for message in prompt]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if spoken != ["user", "assistant"] * (len(spoken) // 2) + ["user"]:
        found = ", ".join(roles) or "none"
        yield "turns", f"turns of prompt are {found}; expected user and assistant in turn, a user turn last"
    elif not prompt[-1].content.strip():
        yield "empty", "prompt is empty; expected text"
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if [message.role for message in answer] != ["assistant"]:
            found = ", ".join(message.role for message in answer) or "none"
            yield "turns", f"turns of {name} are {found}; expected one assistant turn"
        elif not answer[0].content.strip():
            yield "empty", f"{name} is empty; expected text"


def common_length(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many turns (or characters) two sequences share at their beginning."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(first), len(second)))
