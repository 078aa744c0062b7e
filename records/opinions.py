"""Pairs that say the opposite of each other: the same prompt, the same two texts, the other one chosen.

Texts count as the same whatever their case, width and white space. Where that would make the two sides of a pair one
text (a principle against shouting, say), its sides are compared as they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from records.rows import Message
from records.splits import normalise

Side = str | Sequence[Message]


class Opinion(NamedTuple):
    """Which of two texts a pair prefers: `about` is a digest of the prompt and both texts, in no order."""

    id: str
    about: bytes
    first_chosen: bool


def opinion(id: str, prompt: Side, chosen: Side, rejected: Side) -> Opinion:
    """What a pair says, in a form that another pair can be compared with."""
    sides = [_text(chosen), _text(rejected)]
    same = [normalise(side) for side in sides]
    left, right = (_digest(side) for side in (same if same[0] != same[1] else sides))
    return Opinion(id, _digest(normalise(_text(prompt))) + min(left, right) + max(left, right), left <= right)


def opposites(opinions: Iterable[Opinion]) -> dict[str, str]:
    """Each pair that another one contradicts, with the smallest id of those that do."""
    found = list(opinions)
    smallest: dict[tuple[bytes, bool], str] = {}
    for one in found:
        key = (one.about, one.first_chosen)
        smallest[key] = min(one.id, smallest.get(key, one.id))
    against = ((one.id, smallest.get((one.about, not one.first_chosen))) for one in found)
    return {id: other for id, other in against if other is not None}


def turns_text(turns: Iterable[Message]) -> str:
    """Turns as one text that no other turns have, after normalising too."""
    return " \x00 ".join(f"{turn.role} \x00 {turn.content}" for turn in turns)


def _text(side: Side) -> str:
    return side if isinstance(side, str) else turns_text(side)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
