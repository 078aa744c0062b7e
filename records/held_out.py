"""Prompts that may not be trained on, known again in whatever shape somebody's data has them.

A conversation is one of them when it asks for the same thing (`records.splits.content_key`). A prompt that is one text
may be the bare question, a flat dialogue, or a conversation rendered by some chat template: it is one of them when its
own words, or those of its turns, ask the same, or when a held-out question stands in it word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from records.digest import digest_json
from records.rows import Message
from records.sources.transcripts import is_transcript, transcript_turns
from records.splits import content_key, normalise

_FEWEST_WORDS = 3
"""A question of fewer words ("Why?") stands in texts that have nothing to do with it; it is known by its key alone."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out prompts; see `held_out_from`."""

    keys: frozenset[str] = frozenset()
    questions: frozenset[tuple[str, ...]] = frozenset()
    """The words of each prompt's last user turn, where there are at least three."""
    _by_start: dict[tuple[str, ...], tuple[tuple[str, ...], ...]] = field(default_factory=dict, repr=False)

    def __contains__(self, prompt: object) -> bool:
        """Whether a prompt, as text or as messages, is one of them."""
        if isinstance(prompt, str):
            return self._holds_text(prompt)
        assert isinstance(prompt, Sequence)
        return content_key(prompt) in self.keys

    @property
    def digest(self) -> str:
        """Changes with the set, whatever the order it was given in."""
        return digest_json(sorted(self.keys))

    def _holds_text(self, text: str) -> bool:
        turns: Sequence[Message] = (Message(role="user", content=text),)
        if content_key(turns) in self.keys:
            return True
        if is_transcript(text) and content_key(transcript_turns(text)) in self.keys:
            return True
        words = _words(text)
        starts = zip(*(words[skip:] for skip in range(_FEWEST_WORDS)), strict=False)
        return any(
            words[place : place + len(question)] == question
            for place, start in enumerate(starts)
            for question in self._by_start.get(start, ())
        )


NOTHING_HELD_OUT = HeldOut()


def held_out_from(prompts: Iterable[Sequence[Message]]) -> HeldOut:
    """The set of these prompts, each a conversation that ends with a user turn."""
    prompts = list(prompts)
    found = (_words(messages[-1].content) for messages in prompts)
    questions = frozenset(words for words in found if len(words) >= _FEWEST_WORDS)
    by_start: dict[tuple[str, ...], tuple[tuple[str, ...], ...]] = {}
    for question in questions:
        start = question[:_FEWEST_WORDS]
        by_start[start] = (*by_start.get(start, ()), question)
    return HeldOut(frozenset(content_key(messages) for messages in prompts), questions, by_start)


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", normalise(text)))
