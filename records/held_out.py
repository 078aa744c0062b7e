"""Prompts that may not be trained on, known again in whatever shape somebody's data has them.

A conversation is one of them when it asks for the same thing (`records.splits.content_key`), or when one of its user
turns alone does. A prompt that is one text may be the bare question, a flat dialogue, or a conversation rendered by
some chat template: it is one of them when its own words, or those of its turns, ask the same, or when a held-out
question stands in it word for word; one that is too short for that, when it is a whole line or turn of it. A user turn
that holds a whole dialogue is such a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from records.digest import digest_json
from records.rows import Message
from records.sources.transcripts import is_transcript, transcript_turns
from records.splits import content_key, normalise

_START = 3
_FEWEST_WORDS = 3.0
"""A question of fewer words ("Why?") stands in texts that have nothing to do with it; it is known as a whole line."""
_CHARACTER_WORTH = 0.5
"""What a character of a script without spaces counts for, in words."""
# Chinese, Japanese, Thai, Lao, Burmese and Khmer run their words together: there each character is one.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
# What chat templates and flat dialogues write between turns.
_MARK = re.compile(
    r"<\|?[^<>|\s]{1,40}\|?>|\[/?[A-Z_]{2,40}\]|^#+.*$|\b(?:human|user|assistant|system|question|answer|q|a)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
# What tells a user's turn that holds a whole rendered dialogue.
_RENDERED = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<start_of_turn>|\[INST\]|^### |\b(?:answer|assistant)\s*:\s*\Z", re.IGNORECASE | re.MULTILINE
)
Words = tuple[str, ...]


@dataclass(frozen=True)
class HeldOut:
    """The held-out prompts; see `held_out_from`."""

    keys: frozenset[str] = frozenset()
    questions: frozenset[Words] = frozenset()
    """The words of each prompt's last user turn, where they are enough to be looked for inside a text."""
    short: frozenset[Words] = frozenset()
    """The words of those that are too short for that."""
    _by_start: dict[Words, tuple[Words, ...]] = field(default_factory=dict, repr=False)

    def __contains__(self, prompt: object) -> bool:
        """Whether a prompt, as text or as messages, is one of them."""
        if isinstance(prompt, str):
            return self._holds_text(prompt)
        assert isinstance(prompt, Sequence)
        asked = [message for message in prompt if message.role == "user"]
        return content_key(prompt) in self.keys or any(map(self._holds_turn, asked))

    @property
    def digest(self) -> str:
        """Changes with the set, whatever the order it was given in."""
        return digest_json(sorted(self.keys))

    def _holds_turn(self, turn: Message) -> bool:
        # A question may stand inside another one ("... and in the snow?"), so words alone say nothing of a turn.
        is_dialogue = is_transcript(turn.content) or _RENDERED.search(turn.content)
        return content_key((turn,)) in self.keys or bool(is_dialogue and self._holds_text(turn.content))

    def _holds_text(self, text: str) -> bool:
        turns: Sequence[Message] = (Message(role="user", content=text),)
        if content_key(turns) in self.keys:
            return True
        if is_transcript(text) and content_key(transcript_turns(text)) in self.keys:
            return True
        words = _words(text)
        starts = zip(*(words[skip:] for skip in range(_START)), strict=False)
        inside = any(
            words[place : place + len(question)] == question
            for place, start in enumerate(starts)
            for question in self._by_start.get(start, ())
        )
        return inside or (bool(self.short) and any(_words(line) in self.short for line in _lines(text)))


NOTHING_HELD_OUT = HeldOut()


def held_out_from(prompts: Iterable[Sequence[Message]]) -> HeldOut:
    """The set of these prompts, each a conversation that ends with a user turn."""
    prompts = list(prompts)
    found = {_words(messages[-1].content) for messages in prompts} - {()}
    questions = frozenset(words for words in found if len(words) >= _START and _worth(words) >= _FEWEST_WORDS)
    by_start: dict[Words, tuple[Words, ...]] = {}
    for question in questions:
        start = question[:_START]
        by_start[start] = (*by_start.get(start, ()), question)
    keys = frozenset(content_key(messages) for messages in prompts)
    return HeldOut(keys, questions, frozenset(found - questions), by_start)


def _words(text: str) -> Words:
    return tuple(_WORD.findall(normalise(text)))


def _worth(words: Words) -> float:
    return sum(_CHARACTER_WORTH if re.fullmatch(f"[{_UNSPACED}]", word) else 1.0 for word in words)


def _lines(text: str) -> list[str]:
    """The lines of a text, cut at the marks of templates and dialogues too."""
    return _MARK.sub("\n", text).splitlines()
