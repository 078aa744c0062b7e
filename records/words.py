"""Token ids of a text from those of its words, where a tokeniser provably knows no more than a word at a time.

Nearly all byte-level BPE tokenisers cut a text into words by one of a few regular expressions before anything else, and
none of these sees across a single space with a visible character on both sides: what is before it never reaches over
it, and what begins with it is read without looking back. So the ids of a text are those of its pieces between such
spaces, one after the other, and most pieces have been seen before. A tokeniser that is not known to be of this kind is
not cut for. Before that, tokenisers cut at their control tokens, so the turns of a conversation do not see each other
either: worked examples, and the question that a revision goes on from, are encoded once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import chain
from typing import Any

# Most words remembered, and the longest that is: together a few tens of MiB.
_MOST, _LONGEST = 32_768, 64
# Turns remembered, by their characters together, and the shortest worth it.
_MOST_CHARACTERS, _SHORTEST_TURN = 4 << 20, 200

# A space between two characters that are no white space to Python, which knows more kinds of it than Unicode does.
_CUT = re.compile(r" (?<=\S )(?=\S)")

# What tokenisers split by before merging, character by character as their files have it. GPT-2's own expression is
# `ByteLevel`'s; then those of Llama 3, Qwen 2 to 3, Qwen 3.5, and GPT-4o.
_BEFORE_LLAMA = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_AFTER_LLAMA = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
SPLITS = frozenset(
    {
        _BEFORE_LLAMA + r"\p{N}{1,3}" + _AFTER_LLAMA,
        _BEFORE_LLAMA + r"\p{N}" + _AFTER_LLAMA,
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDS}[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDS}\p{{N}}{{1,3}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    }
)


def reads_by_word(backend: Any) -> bool:
    """Whether a tokeniser of the `tokenizers` library provably reads no further than `_CUT`."""
    from tokenizers import models

    if not isinstance(backend.model, models.BPE) or backend.model.dropout:
        return False
    if _parts(backend.normalizer) not in ([], [{"type": "NFC"}]) or not _splits_by_word(_parts(backend.pre_tokenizer)):
        return False
    # A marker that takes the space beside it, or holds one, could reach over a cut.
    return not any(
        token.lstrip or token.rstrip or token.single_word or re.search(r"\s", token.content)
        for token in backend.get_added_tokens_decoder().values()
    )


def _parts(step: Any) -> list[dict[str, Any]]:
    """A normaliser or pre-tokeniser as its file has it, a sequence of several as a list."""
    if step is None:
        return []
    told = json.loads(step.__getstate__())
    inner = told.get("pretokenizers", told.get("normalizers"))
    return [told] if inner is None else list(inner)


def _splits_by_word(parts: list[dict[str, Any]]) -> bool:
    if not parts or parts[-1]["type"] != "ByteLevel" or parts[-1]["add_prefix_space"]:
        return False
    if len(parts) == 1:
        return bool(parts[0]["use_regex"])
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    found = dict(parts[0])
    pattern = found.pop("pattern", {}).get("Regex")
    return len(parts) == 2 and not parts[1]["use_regex"] and found == split and pattern in SPLITS


class TurnIds:
    """Encodes conversations turn by turn, remembering long turns."""

    def __init__(self, backend: Any, words: WordIds) -> None:
        """Begin with nothing remembered.

        Args:
            backend: a tokeniser of the `tokenizers` library that `reads_by_word`.
            words: encodes what stands between control tokens.
        """
        # Those that are found before a text is normalised, the longest first where several begin at one place.
        added = backend.get_added_tokens_decoder().items()
        self._controls = {token.content: id for id, token in added if not token.normalized and token.content}
        longest_first = sorted(self._controls, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None
        self._words = words
        self._turns: dict[str, list[int]] = {}
        self._characters = 0

    def __call__(self, text: str) -> list[int]:
        if self._cut is None:
            return self._words(text)
        first, *rest = self._cut.split(text)
        ids = [*self._turn(first)]
        for control, turn in zip(rest[::2], rest[1::2], strict=True):
            ids.append(self._controls[control])
            ids += self._turn(turn)
        return ids

    def _turn(self, text: str) -> list[int]:
        if len(text) < _SHORTEST_TURN:
            return self._words(text) if text else []
        known = self._turns.get(text)
        if known is None:
            known = self._words(text)
            if self._characters > _MOST_CHARACTERS:
                self._turns.clear()
                self._characters = 0
            if len(text) <= _MOST_CHARACTERS:
                self._turns[text] = known
                self._characters += len(text)
        return known


class WordIds:
    """Encodes texts by their words, remembering the words."""

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        """Begin with nothing remembered.

        Args:
            encode: token ids of a text; of a tokeniser that `reads_by_word`.
        """
        self._first, self._later = _Remembered(encode, ""), _Remembered(encode, " ")

    def __call__(self, text: str) -> list[int]:
        words = text.split(" ")
        # Where no white space stands beside a space, every space is a cut; that is seen faster than they are found.
        if "" in words or list(map(str.strip, words)) != words:
            words = _CUT.split(text)
        first = words.pop(0)
        return [*self._first[first], *chain.from_iterable(map(self._later.__getitem__, words))]


class _Remembered(dict[str, tuple[int, ...]]):
    """Word to ids, with a space before it or none."""

    def __init__(self, encode: Callable[[str], list[int]], before: str) -> None:
        super().__init__()
        self._encode, self._before = encode, before

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = tuple(self._encode(self._before + word))
        if len(word) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[word] = ids
        return ids
