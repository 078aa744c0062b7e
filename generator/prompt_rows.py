"""The prompts of one source, each with its place, and what is wrong with the rows that are none.

A row without preset, columns or template has this project's own columns and no others: `prompt` (a text), `messages` (a
conversation that ends with a user turn), `turns` (user turns on whose answers the later ones follow: the first is the
prompt, the others stay on its row) or `transcript` (a flat dialogue); and, where it wants, `group` (prompts of one
template or document stay on one side of the split), `benign` (true or false) and `check` (an exact check of whether a
text does what the prompt wants).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from jinja2 import TemplateError
from pydantic import ValidationError

from constitution.checks import check_problems
from constitution.schema import Check
from generator.source_config import PromptSource
from records.digest import digest_text
from records.errors import Problem
from records.markdown import one_line
from records.rows import Message
from records.sources.cells import json_text
from records.sources.comparisons import column, prompt_turns
from records.sources.layouts import group_of, prompt_fields
from records.sources.readers import Found, Unreadable, read_origin
from records.sources.sides import RowProblem
from records.sources.transcripts import transcript_turns
from records.strict import Strict

_EITHER = "expected either `prompt` or `messages`, one of the two (or `turns`, or `transcript`)"
_NAME_THEM = "name them in the run file: {path: ..., columns: {prompt: question}} or preset:"
_FIELDS_OF_A_ROW = ("group", "benign", "check")
Row = dict[str, Any]
Turns = tuple[Message, ...]


class PromptRow(Strict):
    """One prompt in this project's own columns."""

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    turns: tuple[str, ...] | None = None
    transcript: str | None = None
    group: str | None = None
    benign: bool | None = None
    check: Check | None = None

    def conversation(self) -> tuple[Message, ...]:
        """The turns up to the one that is answered, whichever column held them.

        Raises:
            RowProblem: the transcript is none.
        """
        if self.transcript is not None:
            return transcript_turns(self.transcript)
        if self.turns:
            return (Message(role="user", content=self.turns[0]),)
        return self.messages or prompt_turns(self.prompt or "")

    def later_turns(self) -> tuple[str, ...]:
        """User turns after the first; nobody has answered it, so they cannot be asked yet."""
        return self.turns[1:] if self.turns else ()


def prompt_rows(source: PromptSource, problems: list[Problem]) -> Iterator[tuple[PromptRow, Turns]]:
    """The prompts of a source with their turns, in its order; rows that are none go to `problems`.

    Raises:
        DataError: the source as a whole cannot be read.
    """
    for found in read_origin(source) if source.has_place else [Found(source.name, 1, {})]:
        try:
            fields = _fields(found, source)
        except RowProblem as problem:
            problems.append(Problem(found.where, str(problem)))
            continue
        for index, one in enumerate(fields, 1):
            faults: list[str] = []
            read = _read(one, faults)
            if read is not None:
                yield read
                continue
            where = found.where if len(fields) == 1 else f"{found.where}, prompt {index}"
            problems += [Problem(where, one_line(fault)) for fault in faults]


def _fields(found: Found, source: PromptSource) -> list[Row]:
    if isinstance(found.row, Unreadable):
        prefix = "the line: Invalid JSON: " if found.unit == "line" else ""
        raise RowProblem("unreadable", prefix + found.row.reason)
    if not isinstance(found.row, dict):
        kind = type(found.row).__name__
        raise RowProblem("unreadable", f"the {found.unit}: found {kind}; expected an object with named columns")
    return prompt_fields(found.row, source) if source.template is None else _filled_in(found.row, source)


def _filled_in(row: Row, source: PromptSource) -> list[Row]:
    """The template with a row's columns and every combination of the variables."""
    from constitution.render import render_prompt

    named = {name: column(row, theirs) for name, theirs in source.columns.items()}
    values = {**row, **{name: value for name, value in named.items() if value is not None}}
    clash = sorted(values.keys() & source.variables.keys())
    if clash:
        raise RowProblem("no_column", f"has the column {clash[0]}, which variables names too; expected another name")
    own = {name: values[name] for name in _FIELDS_OF_A_ROW if values.get(name) not in (None, "")} if row else {}
    if "group" in own:
        own["group"] = group_of(row, source)
    elif row and source.variables:
        # Prompts on one document stay on one side of the split, however often the template asks about it.
        own["group"] = digest_text(json_text(row, sort_keys=True))[:16]
    filled = []
    for combination in itertools.product(*source.variables.values()):
        shown = values | dict(zip(source.variables, combination, strict=True))
        try:
            text = render_prompt(source.template or "", {name: _printable(name, shown[name]) for name in shown})
            messages = (Message(role="user", content=text),)
        except (TypeError, TemplateError) as error:
            raise RowProblem("no_column", f"the template cannot be filled in: {error}") from None
        grouped = {"group": str(shown["group"])} if "group" in source.variables else {}
        filled.append({"messages": messages, **own, **grouped})
    return filled


def _printable(name: str, value: Any) -> Any:
    """A value that a template may show; one that would show as `None`, `nan` or a list's notation fails when shown."""
    is_text = isinstance(value, str | int | float) and not (isinstance(value, float) and not math.isfinite(value))
    is_date = hasattr(value, "isoformat")
    return value if is_text or is_date else _NoText(name, value)


class _NoText:
    """Stands for a value in a template: it can be tested there (`if`), and not shown."""

    def __init__(self, name: str, value: Any) -> None:
        self._name, self._value = name, value

    def __bool__(self) -> bool:
        return bool(self._value) and self._value == self._value

    def __str__(self) -> str:
        raise TypeError(f"{self._name} is {_short(self._value)}; expected text or a number")


def _read(fields: Row, faults: list[str]) -> tuple[PromptRow, Turns] | None:
    try:
        row = PromptRow.model_validate(fields)
        turns = row.conversation()
    except ValidationError as error:
        faults += [_fault_text(fault) for fault in error.errors(include_url=False)]
        return None
    except RowProblem as problem:
        faults.append(str(problem))
        return None
    faults += _faults(row, turns)
    return None if faults else (row, turns)


def _faults(row: PromptRow, turns: Turns) -> list[str]:
    if (row.prompt, row.messages, row.turns, row.transcript).count(None) != 3:
        return [_EITHER]
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
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
        return f"{name}: no such column; expected {', '.join(PromptRow.model_fields)} ({_EITHER}); or {_NAME_THEM}"
    return f"{name}: {fault['msg']} (found {_short(fault['input'])})"


def _short(value: Any) -> str:
    text = json_text(value)
    return text if len(text) <= 60 else text[:57] + "..."
