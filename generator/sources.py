"""Prompts from files: JSON lines with `prompt` (a text) or `messages` (a conversation that ends with a user turn).

Optional columns: `group` (prompts of one template or document stay on one side of the split), `benign` (true or false),
`check` (an exact check of whether a text does what the prompt wants). A file is read whole before anything runs, and
every problem in it is reported at once.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from constitution.checks import check_problems
from constitution.schema import Check
from records.errors import DataError, Problem
from records.rows import Message, Prompt
from records.splits import SplitShares, content_key, prompt_id, split_of
from records.strict import Strict

_MOST_PROBLEMS = 20
_EITHER = "expected either `prompt` or `messages`, one of the two"


class PromptRow(Strict):
    """One line of a prompt file."""

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    group: str | None = None
    benign: bool | None = None
    check: Check | None = None

    def turns(self) -> tuple[Message, ...]:
        """The conversation, whichever column held it."""
        return self.messages or (Message(role="user", content=self.prompt or ""),)


@dataclass
class PromptSet:
    """The prompts of a run by split, each id once, and what was left out on the way."""

    prompts: list[Prompt] = field(default_factory=list)
    duplicates: int = 0
    """Rows whose messages stood earlier; left out."""
    near_duplicates: int = 0
    """Train prompts that ask the same as a held-out prompt in other function words; left out."""

    def of(self, split: str) -> list[Prompt]:
        """The prompts of one split, in file order."""
        return [prompt for prompt in self.prompts if prompt.split == split]


def load_prompts(paths: Sequence[str], shares: SplitShares) -> PromptSet:
    """Read prompt files, split them, and take out what would leak held-out prompts into training.

    Raises:
        DataError: a file is missing, empty or holds rows that are no prompts; lists all of them by line.
    """
    problems: list[Problem] = []
    found = PromptSet()
    seen: set[str] = set()
    for path in paths:
        for row in _read_file(Path(path), problems):
            turns = row.turns()
            id = prompt_id(turns)
            if id in seen:
                found.duplicates += 1
                continue
            seen.add(id)
            check = row.check.model_dump(exclude_defaults=True) if row.check else None
            split = split_of(turns, row.group, shares)
            found.prompts.append(
                Prompt(id=id, messages=turns, split=split, group=row.group, benign=row.benign, check=check, source=path)
            )
    if problems:
        shown = [str(problem) for problem in problems[:_MOST_PROBLEMS]]
        more = [f"  ... and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
        raise DataError("\n".join(["The prompts cannot be read:", *shown, *more, "Nothing was run."]))
    return _without_near_duplicates(found)


def _without_near_duplicates(found: PromptSet) -> PromptSet:
    held_out = {content_key(prompt.messages) for prompt in found.prompts if prompt.split != "train"}
    kept = [
        prompt for prompt in found.prompts if prompt.split != "train" or content_key(prompt.messages) not in held_out
    ]
    return PromptSet(kept, found.duplicates, len(found.prompts) - len(kept))


def _read_file(path: Path, problems: list[Problem]) -> Iterable[PromptRow]:
    if not path.is_file():
        problems.append(Problem(str(path), "no such file; expected a JSON-lines file of prompts"))
        return
    rows = 0
    # As bytes: a line that is not UTF-8 is a problem of that line.
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not line.strip():
                continue
            rows += 1
            row = _read_line(line, f"{path}, line {number}", problems)
            if row is not None:
                yield row
    if rows == 0:
        problems.append(Problem(str(path), "holds no prompts; expected at least one line"))


def _read_line(line: bytes, where: str, problems: list[Problem]) -> PromptRow | None:
    try:
        row = PromptRow.model_validate_json(line)
    except ValidationError as error:
        for fault in error.errors():
            problems.append(Problem(where, _fault_text(fault)))
        return None
    faults = _faults(row)
    problems += [Problem(where, fault) for fault in faults]
    return None if faults else row


def _faults(row: PromptRow) -> list[str]:
    if (row.prompt is None) == (row.messages is None):
        return [_EITHER]
    turns = row.turns()
    if turns[-1].role != "user" or not turns[-1].content.strip():
        return ["the conversation must end with a user turn that is not empty"]
    roles = [turn.role for turn in turns]
    spoken = roles[1:] if roles[0] == "system" else roles
    if spoken != ["user", "assistant"] * (len(spoken) // 2) + ["user"]:
        return [
            f"found the roles {', '.join(roles)}; expected user and assistant in turn, after at most one system turn"
        ]
    return check_problems(row.check) if row.check else []


def _fault_text(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"]) or "the line"
    if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
        return f"{name}: no such column; expected {', '.join(PromptRow.model_fields)} ({_EITHER})"
    return f"{name}: {fault['msg']} (found {_short(fault['input'])})"


def _short(value: Any) -> str:
    value = value.decode("utf-8", "backslashreplace").strip() if isinstance(value, bytes) else value
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
