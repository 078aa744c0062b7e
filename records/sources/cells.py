"""Cells of text where other kinds of file hold lists and mappings, and rows as JSON text."""

from __future__ import annotations

import json
import re
from typing import Any

from records.sources.sides import RowProblem

# What a cell of text, as in a CSV file, holds as JSON.
STRUCTURED = ("messages", "turns", "check", "answers", "ratings", "ranks")
OPTIONAL = ("group", "benign", "check", "chosen_rating", "rejected_rating")
_SIDES = ("prompt", "chosen", "rejected", "best", "worst")
_MESSAGES = re.compile(r"""\s*\[\s*\{\s*"(?:role|content)"\s*:""")


class Cells(dict[str, Any]):
    """A row of a table that holds text alone; a list of messages can stand there as JSON and in no other way."""


def read_cells(fields: dict[str, Any], *, table: bool = False) -> dict[str, Any]:
    """Text read as what its column holds: JSON in the structured ones, nothing in an empty optional one.

    Args:
        fields: values by this project's column name.
        table: whether the row comes of a table of text, where a side too may be a list of messages as JSON.

    Raises:
        RowProblem: a text begins as JSON must in its column, and is none.
    """
    read = dict(fields)
    for name, value in fields.items():
        if not isinstance(value, str):
            continue
        if name in OPTIONAL and value == "":
            read[name] = None
            continue
        begins = name in STRUCTURED and value.lstrip()[:1] in ("[", "{")
        if begins or (table and name in _SIDES and _MESSAGES.match(value)):
            read[name] = _parsed(name, value)
    if isinstance(read.get("messages"), list):
        # Columnar files give every turn every key that any turn has, as null.
        read["messages"] = [_without_nulls(turn) for turn in read["messages"]]
    return read


def json_text(value: Any, *, sort_keys: bool = False) -> str:
    """Any row as JSON text: dates, bytes and other values as text, keys that are none as text too; never an error."""
    try:
        return json.dumps(_plain(value), sort_keys=sort_keys, default=str)
    except (RecursionError, ValueError):
        return json.dumps(f"a value of type {type(value).__name__}, nested too deeply")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name if isinstance(name, str) else str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise RowProblem("unreadable", f"{name} holds JSON nested too deeply; expected a list") from None
    except ValueError as error:
        raise RowProblem("unreadable", f"{name} begins as JSON and is none ({error}); expected JSON") from None


def _without_nulls(turn: Any) -> Any:
    return {key: value for key, value in turn.items() if value is not None} if isinstance(turn, dict) else turn
