"""A constitution as plain text for a person: what it holds, counted and listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from constitution.schema import Constitution, Principle
from records.markdown import one_line

_HEADINGS = ("id", "weight", "category", "applies when", "check", "examples", "principle")
_WIDEST = {"applies when": 32, "principle": 80}


def describe(constitution: Constitution) -> str:
    """Name, digest, counts by category, and a table with one line per principle."""
    principles = constitution.principles
    categories = Counter(one_line(principle.category) for principle in principles)
    checked = sum(principle.check is not None for principle in principles)
    examples = [example for principle in principles for example in principle.examples]
    violating = sum(example.violates for example in examples)
    lines = [
        f"{one_line(constitution.name)} (version {one_line(str(constitution.version))})",
        *([one_line(constitution.description)] if constitution.description.strip() else []),
        f"digest      {constitution.digest}",
        f"templates   {constitution.template_digest}",
        f"principles  {len(principles)}: {', '.join(f'{name} {count}' for name, count in categories.most_common())}",
        f"checks      {checked} of {len(principles)} principles have an exact check",
        f"examples    {len(examples)}: {violating} violating, {len(examples) - violating} complying",
        "",
        *_table([_HEADINGS, *(_cells(principle) for principle in principles)]),
    ]
    return "\n".join(lines)


def _cells(principle: Principle) -> tuple[str, ...]:
    return (
        principle.id,
        f"{principle.weight:g}",
        one_line(principle.category),
        one_line(principle.applies_when or "always"),
        "yes" if principle.check else "-",
        str(len(principle.examples)),
        one_line(principle.text),
    )


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    limits = [_WIDEST.get(heading, 64) for heading in _HEADINGS]
    cut = [
        [cell if len(cell) <= limit else f"{cell[: limit - 1]}…" for cell, limit in zip(row, limits, strict=True)]
        for row in rows
    ]
    widths = [max(len(row[column]) for row in cut) for column in range(len(_HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cut]
