"""Pydantic's complaints about a YAML file in the words of this project: where, found, expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from constitution.schema import Check, Example
from constitution.yaml_file import Document, Place
from records.rows import Message

_NESTED: dict[str, type[BaseModel]] = {"check": Check, "examples": Example, "context": Message}
_EXPECTED = {
    "string_type": "text (in quotes, where it looks like a number, a date or yes/no)",
    "string_too_short": "some text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_EXPECTED_BY_KEY = {
    "id": "lower-case letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit",
    "version": "a whole number or text",
    "extends": "a library name, a path, or a list of them",
}
_BOUNDS = {"greater_than": ("gt", "a number greater than"), "greater_than_equal": ("ge", "a number of at least")}
_BOUNDS |= {"less_than_equal": ("le", "a number of at most")}


def describe_value(value: Any) -> str:
    """A value of a file as a message shows it: short, and never its whole content."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (tuple, list)):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    shown = repr(value) if isinstance(value, str) else str(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def suggestion(found: str, known: Iterable[str]) -> str:
    """A sentence that asks whether a close known name was meant, with a space before it; else nothing."""
    close = difflib.get_close_matches(found, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def add_faults(document: Document, place: Place, label: str, model: type[BaseModel], error: ValidationError) -> None:
    """Note every fault of a validation, at its line.

    Args:
        document: the file.
        place: where in the file the validated value lies.
        label: how messages name that value (`principle 3: `), or empty.
        model: what it was validated as; names the known keys.
        error: pydantic's.
    """
    for fault in error.errors(include_url=False):
        inside = _inside(document, place, tuple(fault["loc"]), fault["type"])
        document.add((*place, *inside), f"{label}{_message(fault, inside, model)}")


def _inside(document: Document, place: Place, loc: Place, kind: str) -> Place:
    """The part of pydantic's location that names a place in the file; it also names members of unions."""
    if kind == "missing":
        return loc
    inside = loc
    while inside and (*place, *inside) not in document.lines:
        inside = inside[:-1]
    return inside


def _message(fault: Any, inside: Place, model: type[BaseModel]) -> str:
    for part in inside[:-1]:
        model = _NESTED.get(str(part), model)
    names = [str(part + 1) if isinstance(part, int) else part for part in inside]
    key = str(inside[-1]) if inside else ""
    if fault["type"] == "extra_forbidden":
        return (
            f"found the unknown key {'.'.join(names)!r}; expected one of {', '.join(model.model_fields)}."
            + suggestion(key, model.model_fields)
        )
    if fault["type"] == "missing":
        return f"found no {'.'.join(names)}; expected the key {key}"
    return f"{' '.join(names)}: found {describe_value(fault['input'])}; expected {_expected(fault, key)}".lstrip(": ")


def _expected(fault: Any, key: str) -> str:
    kind = fault["type"]
    if key in _EXPECTED_BY_KEY:
        return _EXPECTED_BY_KEY[key]
    if kind in _BOUNDS:
        name, phrase = _BOUNDS[kind]
        return f"{phrase} {fault['ctx'][name]:g}"
    if kind == "literal_error":
        return str(fault["ctx"]["expected"])
    return _EXPECTED.get(kind, str(fault["msg"]))
