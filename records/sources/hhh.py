r"""The HHH evaluations: a question with two lettered options, and which letters are the better ones.

`prompt` holds the conversation and the options (` (A) [[[...]]]`), `corrects` and `incorrects` the letters, and most
rows spell both sides out as `text_correct` and `text_incorrect`. The letters are the label; where the texts are there
too, they must say the same.
"""

from __future__ import annotations

import re
from typing import Any

from records.sources.comparisons import Comparison, Row, column, compare, found_columns, text_of
from records.sources.sides import RowProblem
from records.sources.transcripts import transcript_turns

_CONVERSATION = re.compile(r"\A.*?(\n\nHuman:.*)\n\n\nPlease choose the response", re.DOTALL)
_OPTION = re.compile(r"^ ?\(([A-Z])\) \[\[\[(.*?)\]\]\]$", re.DOTALL | re.MULTILINE)


def hhh_prompt(row: Row) -> list[dict[str, Any]]:
    """The conversation in front of the options."""
    found = _CONVERSATION.match(text_of(row, "prompt"))
    if not found:
        raise RowProblem("no_common_prompt", "prompt holds no conversation before 'Please choose the response'")
    return [{"messages": transcript_turns(found.group(1))}]


def hhh_pair(row: Row, prompt: Any) -> list[Comparison]:
    """The option that is called correct over the one that is not."""
    asked = hhh_prompt(row)[0]["messages"] if prompt is None else prompt
    options = dict(_OPTION.findall(text_of(row, "prompt").partition("Please choose the response")[2]))
    sides = []
    for letters, spelled in (("corrects", "text_correct"), ("incorrects", "text_incorrect")):
        letter = _only_letter(row, letters)
        if letter not in options:
            raise RowProblem("rating", f"{letters} names {letter!r}; expected one of the options {', '.join(options)}")
        whole = column(row, spelled)
        if whole is not None and transcript_turns(text_of(row, spelled))[-1].content.strip() != options[letter].strip():
            raise RowProblem("rating", f"{spelled} is not the option ({letter}) that {letters} names; expected it")
        sides.append(options[letter])
    return compare(asked, *sides)


def _only_letter(row: Row, name: str) -> str:
    letters = row.get(name)
    if not isinstance(letters, list) or len(letters) != 1 or not isinstance(letters[0], str):
        raise RowProblem("rating", f"no single letter in {name} (found {found_columns(row)}); expected one such as (A)")
    return letters[0].strip(" ()")
