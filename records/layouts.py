"""The layouts that other trainers read, each a record made from one `Pair`.

A system message and all earlier turns are kept in every one. `chosen` stays chosen by name: in NeMo-RL's layout, whose
answers are a list, by `rank`, and 0 is the better one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from records.chat import holds_special, render_pair
from records.rows import Message, Pair
from records.strict import Strict


class LeftOutError(Exception):
    """The pair cannot be said in this layout; the reason is counted, never a silent loss."""


class StandardRow(Strict):
    """TRL's standard format: three strings under one chat template; prompt + answer is the template's rendering."""

    id: str
    prompt: str
    chosen: str
    rejected: str


class RankedCompletion(Strict):
    rank: int
    completion: tuple[Message, ...]


class NemoRow(Strict):
    """NeMo-RL's preference format; rank 0 is chosen."""

    context: tuple[Message, ...]
    completions: tuple[RankedCompletion, ...]
    task_name: str


class OpenCaiRow(Strict):
    """The open CAI layout: whole conversations; `prompt` is the last user turn and `messages` what SFT trains on."""

    id: str
    prompt: str
    messages: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]


def standard_row(pair: Pair, template: Any) -> StandardRow:
    """A pair as three strings.

    Args:
        pair: the stored row.
        template: from records/chat_template.py.

    Raises:
        LeftOutError: a text spells a marker of the template, which a string would turn into the real one; or both
            sides come out alike.
        ValueError: the template does not render the prompt as a prefix of prompt and answer.
        ConfigError: the template refuses the order of the roles.
    """
    if any(holds_special(template, turn.content) for turn in (*pair.prompt, *pair.chosen, *pair.rejected)):
        raise LeftOutError("spells_marker")
    prompt, chosen = render_pair(template, pair.prompt, pair.chosen)
    _, rejected = render_pair(template, pair.prompt, pair.rejected)
    if chosen == rejected:
        raise LeftOutError("same_text")
    return StandardRow(id=pair.id, prompt=prompt, chosen=chosen, rejected=rejected)


def nemo_row(pair: Pair, task_name: str) -> NemoRow:
    """A pair in NeMo-RL's layout."""
    sides = enumerate((pair.chosen, pair.rejected))
    completions = tuple(RankedCompletion(rank=rank, completion=side) for rank, side in sides)
    return NemoRow(context=pair.prompt, completions=completions, task_name=task_name)


def open_cai_row(pair: Pair) -> OpenCaiRow:
    """A pair in the open CAI layout."""
    chosen, rejected = (*pair.prompt, *pair.chosen), (*pair.prompt, *pair.rejected)
    return OpenCaiRow(id=pair.id, prompt=pair.prompt[-1].content, messages=chosen, chosen=chosen, rejected=rejected)


def transcript(messages: Sequence[Message]) -> str:
    """A conversation as one string: a lone user turn as it stands, several turns each under its role."""
    if [message.role for message in messages] == ["user"]:
        return messages[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in messages)
