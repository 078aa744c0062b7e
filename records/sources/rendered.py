"""Texts that a chat template has rendered, read back as turns: where the template is named, and only to the letter.

What a template writes around each turn is found by rendering turns of known contents. A text is then cut there, and the
turns count only if the template makes of them exactly the text that was read; a text that nothing else vouches for is
never taken for a user's turn, which would be templated a second time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from records.chat import holds_special, render_pair
from records.errors import ConfigError
from records.rows import Message, Role
from records.sources.sides import RowProblem

_MARK = r"(?:<\|[^<>|\s]{1,40}\|>|<start_of_turn>|\[/?INST\]|</?s>|<bos>)"
_BEGINS = re.compile(rf"\s*{_MARK}")
_ENDS = re.compile(rf"{_MARK}\s*(?:assistant|model)?\s*(?:{_MARK})?\s*\Z")
# Private-use code points, which no template gives a meaning.
_CONTENTS = tuple(f"\ue0f2{name}\ue0f3" for name in "suavb")
_NOT_BACK = "the template does not make {name} of the turns in it; expected a text that this template has rendered"


def refuse_rendered(row: dict[str, Any]) -> dict[str, Any]:
    """The row itself.

    Raises:
        RowProblem: its prompt, or the beginning of its sides, is what a chat template has rendered.
    """
    prompt, chosen = row.get("prompt"), row.get("chosen")
    is_rendered = isinstance(prompt, str) and _BEGINS.match(prompt) and _ENDS.search(prompt)
    if is_rendered or (prompt is None and isinstance(chosen, str) and _BEGINS.match(chosen)):
        raise RowProblem(
            "turns",
            f"{'prompt' if is_rendered else 'chosen'} has been rendered by a chat template; expected turns, or the "
            "template by --template, so that it is not templated twice",
        )
    return row


@dataclass(frozen=True)
class Marks:
    """What a template writes before, between and after turns; `system` is None where it takes no system message."""

    system: tuple[str, str] | None
    first: str
    after_user: str
    after_assistant: str
    asks: str
    """From the last user turn to where the answer begins."""
    ends: str


class Unrender:
    """Reads rows of three rendered texts back, under one template; it holds what the template writes."""

    def __init__(self, template: Any) -> None:
        """Find the marks.

        Args:
            template: from records/chat_template.py.

        Raises:
            ConfigError: the template does not write the turns one after the other as they are.
        """
        self.template = template
        self.marks = _marks_of(template)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with messages in place of its three texts.

        Raises:
            RowProblem: they are no texts, or none that this template has rendered.
        """
        texts = [row.get(name) for name in ("prompt", "chosen", "rejected")]
        if not all(isinstance(text, str) for text in texts):
            raise RowProblem("not_text", "prompt, chosen and rejected are not all text; expected rendered texts")
        prompt, *sides = map(str, texts)
        answers = [self._answer(name, side) for name, side in zip(("chosen", "rejected"), sides, strict=True)]
        for turns in _candidates(prompt, self.marks):
            if all(self._is_back(prompt, side, turns, answer) for side, answer in zip(sides, answers, strict=True)):
                return {**row, "prompt": list(turns), "chosen": [answers[0]], "rejected": [answers[1]]}
        raise RowProblem("turns", _NOT_BACK.format(name="prompt"))

    def _answer(self, name: str, side: str) -> Message:
        if not side.endswith(self.marks.ends):
            raise RowProblem("turns", _NOT_BACK.format(name=name))
        return Message(role="assistant", content=side[: len(side) - len(self.marks.ends)])

    def _is_back(self, prompt: str, side: str, turns: Sequence[Message], answer: Message) -> bool:
        if any(holds_special(self.template, turn.content) for turn in (*turns, answer)):
            return False
        try:
            return render_pair(self.template, turns, [answer]) == (prompt, side)
        except (ValueError, ConfigError):
            return False


def _marks_of(template: Any) -> Marks:
    s, u, a, v, b = _CONTENTS
    talk = [_turn("user", u), _turn("assistant", a), _turn("user", v)]
    try:
        prompt, answer = render_pair(template, talk, [_turn("assistant", b)])
        first, after_user, after_assistant, asks = _between(prompt, u, a, v)
        before, ends = _between(answer, b)
        if before:
            raise ValueError("the answer does not begin where the generation prompt ends")
    except ValueError as error:
        raise ConfigError(
            f"--template {template.name_or_path}: {error}; expected a template that writes every turn as it is, one "
            "after the other. Export the pairs as trl instead."
        ) from None
    try:
        prompt, _ = render_pair(template, [_turn("system", s), *talk], [_turn("assistant", b)])
        opens, closes, *others = _between(prompt, s, u, a, v)
        system = (opens, closes) if others == [after_user, after_assistant, asks] else None
    except (ValueError, ConfigError):
        system = None
    return Marks(system, first, after_user, after_assistant, asks, ends)


def _turn(role: Role, content: str) -> Message:
    return Message(role=role, content=content)


def _between(text: str, *contents: str) -> list[str]:
    """The pieces of a text around these contents.

    Raises:
        ValueError: they do not stand in it once each, in this order.
    """
    pieces = re.split("|".join(map(re.escape, contents)), text)
    if [text.count(content) for content in contents] != [1] * len(contents) or sorted(contents, key=text.index) != list(
        contents
    ):
        raise ValueError("the turns do not stand in its rendering once each, in their order")
    return pieces


def _candidates(prompt: str, marks: Marks) -> list[tuple[Message, ...]]:
    """What the turns may be. A system line that the template writes of itself is not read as one that was given."""
    if not prompt.endswith(marks.asks) or not marks.asks:
        return []
    body = prompt[: len(prompt) - len(marks.asks)]
    found = []
    if body.startswith(marks.first):
        found.append(_turns(body[len(marks.first) :], marks))
    if marks.system and body.startswith(marks.system[0]):
        system, closed, rest = body[len(marks.system[0]) :].partition(marks.system[1])
        if closed:
            found.append((_turn("system", system), *_turns(rest, marks)))
    return found


def _turns(body: str, marks: Marks) -> tuple[Message, ...]:
    turns: list[Message] = []
    role: Role = "user"
    while True:
        mark = marks.after_user if role == "user" else marks.after_assistant
        content, cut, body = body.partition(mark) if mark else (body, "", "")
        turns.append(_turn(role, content))
        if not cut:
            return tuple(turns)
        role = "assistant" if role == "user" else "user"
