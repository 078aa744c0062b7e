r"""Exact checks: a verdict on a text that no model gave, by patterns and limits alone.

Patterns come from files that may be hostile, so they run under RE2, whose time is linear in the text and which refuses
patterns that would need too much memory. In RE2 `\b`, `\w` and `\d` mean ASCII; `(?i)` folds all of Unicode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import re2

from constitution.schema import Check
from records.rows import Message

CheckVerdict = Literal["violates", "complies", "not_applicable"]
PATTERN_MAX_CHARACTERS = 2000
_PATTERN_MAX_BYTES_OF_MEMORY = 8 << 20


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_MAX_BYTES_OF_MEMORY
    return re2.compile(pattern, options=options)


def _encodable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, as U+FFFD; any other text as it is."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _found(pattern: str, text: bytes) -> bool:
    # UTF-8 rather than a string: found in bytes, a place need not be counted back into characters.
    return _compiled(pattern).search(text) is not None


def run_check(check: Check, prompt: Sequence[Message], text: str) -> CheckVerdict:
    """The verdict of an exact check on an answer.

    Args:
        check: patterns that compile (`check_problems` is empty).
        prompt: the conversation that was answered; only `if_prompt` looks at it, at the last user turn.
        text: the answer; lone surrogates in it count as U+FFFD.
    """
    if check.if_prompt:
        asked = _encodable(next((turn.content for turn in reversed(prompt) if turn.role == "user"), "")).encode()
        if not any(_found(pattern, asked) for pattern in check.if_prompt):
            return "not_applicable"
    answer = _encodable(text)
    encoded = answer.encode()
    counted = check.min_words is not None or check.max_words is not None
    words = len(answer.split()) if counted else 0
    broken = (
        any(_found(pattern, encoded) for pattern in check.forbid)
        or not all(_found(pattern, encoded) for pattern in check.require)
        or (check.min_words is not None and words < check.min_words)
        or (check.max_words is not None and words > check.max_words)
        or (check.max_characters is not None and len(text) > check.max_characters)
    )
    return "violates" if broken else "complies"


def check_problems(check: Check) -> list[str]:
    """What is wrong with a check: patterns that do not compile, limits that contradict, a check that tests nothing."""
    return [f"{'.'.join(map(str, place))}: {message}".removeprefix(": ") for place, message in placed_problems(check)]


def placed_problems(check: Check) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """As `check_problems`, each with its place in the check: field, and index of the pattern from 0."""
    limits = (check.min_words, check.max_words, check.max_characters)
    if not check.forbid and not check.require and all(limit is None for limit in limits):
        yield (), "tests nothing; expected forbid, require, min_words, max_words or max_characters"
    if check.min_words is not None and check.max_words is not None and check.min_words > check.max_words:
        yield ("min_words",), f"found {check.min_words}; expected at most max_words, {check.max_words}"
    for field in ("forbid", "require", "if_prompt"):
        for index, pattern in enumerate(getattr(check, field)):
            fault = _pattern_fault(pattern)
            if fault:
                yield (field, index), f"found the pattern {pattern[:60]!r}: {fault}; expected an RE2 regular expression"


def _pattern_fault(pattern: str) -> str:
    if not pattern:
        return "it is empty and would match every text"
    if len(pattern) > PATTERN_MAX_CHARACTERS:
        return f"{len(pattern)} characters, more than {PATTERN_MAX_CHARACTERS}"
    try:
        _compiled(pattern)
    except re2.error as error:
        reason = error.args[0]
        return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    except UnicodeEncodeError:
        return "it holds a lone surrogate"
    return ""
