"""What a seeded bug is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One seeded bug: in `file`, `old` (which stands there exactly once) becomes `new`; `tests` must turn red."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
