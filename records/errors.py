"""The errors a person can mend. Each names the place, what was found, what was expected, and what to do.

The command line prints their message without a traceback and exits with 2. Anything else that escapes is a bug of
this project: traceback, exit 1. A bad *row* is never an exception; it is a counted `Reject` (records/rows.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ConstituteError(Exception):
    """Any problem whose cause lies outside this project's code."""


class ConfigError(ConstituteError):
    """A run file, a constitution or a setting cannot be used as it stands."""


class DataError(ConstituteError):
    """Prompts, pairs or another input cannot be read."""


class StageError(ConstituteError):
    """A stage could not do its work (the engine kept dying, the disk is full, the hand-off failed)."""


class StageFailed(ConstituteError):
    """A stage process ended with this exit status; there is nothing left to print."""

    def __init__(self, status: int) -> None:
        super().__init__("")
        self.status = status


class StaleStageError(StageError):
    """What is on disk was made from other inputs than the ones given now."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file: where, and what was found and expected."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"  {self.where}: {self.message}" if self.where else f"  {self.message}"


def problems_error(source: str, problems: Sequence[Problem], way_out: str = "") -> ConfigError:
    """One error that lists every problem of one file.

    Args:
        source: the file's path or another name for where the problems are.
        problems: all of them, in file order; at least one.
        way_out: what the reader can do next; printed last.
    """
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}; nothing was run."
    lines = [source, *(str(problem) for problem in problems), f"{count} {way_out}".rstrip()]
    return ConfigError("\n".join(lines))
