"""The `principles` of one file on top of the inherited ones: new ones, overrides, and ones switched off."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from constitution.faults import add_faults, describe_value, suggestion
from constitution.lint import principle_problems
from constitution.schema import Principle
from constitution.yaml_file import Document, Place
from records.strict import Strict


class _Off(Strict):
    id: str
    off: bool


def add_principles(
    document: Document, entries: tuple[Any, ...], principles: dict[str, Principle], *, inherited_known: bool
) -> None:
    """Apply a file's entries to the principles by id, in place; every problem goes to the document.

    Args:
        document: the file.
        entries: its `principles` as read.
        principles: the inherited ones, in order; an override keeps its place.
        inherited_known: False where an extended file could not be read, so that an unknown id proves nothing.
    """
    inherited = dict(principles)
    _find_duplicates(document, entries)
    for index, entry in enumerate(entries):
        place = ("principles", index)
        if not isinstance(entry, dict):
            document.add(
                place, f"principle {index + 1}: found {describe_value(entry)}; expected a mapping with id and text"
            )
            continue
        id = entry.get("id")
        base = inherited.get(id) if isinstance(id, str) else None
        label = f"principle {index + 1} ({id!r}): " if isinstance(id, str) else f"principle {index + 1}: "
        refers = "off" in entry or ("text" not in entry and inherited)
        if refers and isinstance(id, str) and base is None:
            if inherited_known:
                found = f"{label}found no inherited principle with the id {id!r} to override or switch off; expected "
                known = "one of the ids of `extends`" if inherited else "an id that `extends` brings"
                document.add(place, f"{found}{known}, or a text for a new principle.{suggestion(id, inherited)}")
        elif "off" in entry:
            _switch_off(document, place, label, entry, principles)
        else:
            _add_one(document, place, label, entry, base, principles)


def _find_duplicates(document: Document, entries: tuple[Any, ...]) -> None:
    first: dict[str, int] = {}
    for index, entry in enumerate(entries):
        id = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(id, str):
            continue
        line = document.line(("principles", index))
        if id in first:
            document.note(
                line,
                f"principle {index + 1}: found the id {id!r} twice, lines {first[id]} and {line}; expected ids that "
                "differ, because pairs refer to them. Rename one",
            )
        first.setdefault(id, line)


def _switch_off(
    document: Document, place: Place, label: str, entry: dict[str, Any], principles: dict[str, Principle]
) -> None:
    try:
        off = _Off.model_validate(entry, strict=True)
    except ValidationError as error:
        add_faults(document, place, label, _Off, error)
        return
    if not off.off:
        document.add((*place, "off"), f"{label}found off: false; expected off: true, or leave the key out")
    principles.pop(off.id, None)


def _add_one(
    document: Document,
    place: Place,
    label: str,
    entry: dict[str, Any],
    base: Principle | None,
    principles: dict[str, Principle],
) -> None:
    inherited = {name: getattr(base, name) for name in Principle.model_fields} if base else {}
    try:
        principle = Principle.model_validate({**inherited, **entry}, strict=True)
    except ValidationError as error:
        add_faults(document, place, label, Principle, error)
        return
    for inside, message in principle_problems(principle):
        document.add((*place, *inside), f"{label}{message}")
    principles[principle.id] = principle
