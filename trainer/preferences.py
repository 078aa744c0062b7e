"""Preference rows from disk: this project's own pairs, or anybody's data in TRL's preference format.

A path is a folder of this project's shards, a file (`.jsonl`, `.json`, `.parquet`), a folder of such files, or a
dataset saved with `save_to_disk`. A row holds `chosen` and `rejected`, and `prompt` unless both sides begin with it;
each is text (standard format) or a list of messages (conversational format). A column `split` says train or
validation; so does the name of a file or of a folder around it (records/sources/split_names.py), and of the two what
keeps a row the further from training counts. Everything is checked before anything trains.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from records.errors import DataError
from records.rows import Message, Split
from records.sources.data_sets import saved_splits
from records.sources.readers import Unreadable, is_own, numbered_rows
from records.sources.sides import RowProblem, check_sides, common_length, messages_of
from records.sources.split_names import split_of_place, strictest

Side = str | tuple[Message, ...]

_SUFFIXES = (".jsonl", ".json", ".parquet")
_COLUMNS = ("prompt", "chosen", "rejected")
_MOST_SHOWN = 20


@dataclass(frozen=True)
class Preference:
    """One row as it stands on disk; its three sides are all text or all messages."""

    id: str
    where: str
    split: Literal["train", "validation"]
    prompt: Side
    chosen: Side
    rejected: Side
    source: int = 0
    """The place of its path among those that were read."""
    probability: float | None = None
    """That `chosen` is preferred, where it was asked for and the row says so."""


def read_preferences(paths: Sequence[Path], *, soft_labels: bool = False) -> list[Preference]:
    """Every row of every path, in order, with its `preference_probability` where labels are to be soft.

    Raises:
        DataError: all problems of all files at once, with row numbers (the first row is 1); nothing was trained.
    """
    rows: list[Preference] = []
    problems: list[str] = []
    for number, path in enumerate(paths):
        for source in _sources(path):
            # The rows of this project's own shards say themselves which split they are in.
            place = None if is_own(source) else split_of_place(source, path)
            found, wrong = _read_source(source, place, soft_labels=soft_labels)
            rows += [replace(row, source=number) for row in found]
            problems += wrong
    raise_problems(problems)
    return rows


def raise_problems(problems: Sequence[str]) -> None:
    """End with one error that lists the problems, where there are any."""
    if problems:
        shown = [f"  {problem}" for problem in problems[:_MOST_SHOWN]]
        more = [f"  and {len(problems) - _MOST_SHOWN} more"] if len(problems) > _MOST_SHOWN else []
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in the pairs; nothing was trained."
        raise DataError(
            "\n".join([*shown, *more, f"{count} Mend or remove the rows, then run the same command again."])
        )


def group_rows(source: str, faults: Sequence[tuple[int, str]]) -> list[str]:
    """One line per fault with the rows that have it, in the order of their first rows."""
    rows_of: dict[str, list[int]] = {}
    for number, message in faults:
        rows_of.setdefault(message, []).append(number)
    return [f"{source}: {_row_list(numbers)}: {message}" for message, numbers in rows_of.items()]


def _row_list(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return (
        f"row {shown}"
        if len(numbers) == 1
        else f"rows {shown}" + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
    )


def _sources(path: Path) -> list[Path]:
    """The files or folders of one kind that a path stands for."""
    if not path.exists():
        raise DataError(
            f"{path}: there are no pairs here; expected a folder of pairs, or a {', '.join(_SUFFIXES)} file."
        )
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise DataError(
                f"{path}: pairs cannot be read from a {path.suffix or 'nameless'} file; expected {_SUFFIXES}."
            )
        return [path]
    if (path / "dataset_dict.json").exists():
        splits = saved_splits(path)
        raise DataError(
            f"{path}: a saved dataset of several splits ({', '.join(splits)}); give one of them: {path / splits[0]}."
        )
    if is_own(path) or (path / "state.json").exists():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
    if not files:
        raise DataError(
            f"{path}: the folder holds no pairs; expected shards (part-00000.parquet) or {', '.join(_SUFFIXES)} files."
        )
    return files


def _read_source(source: Path, place: Split | None, *, soft_labels: bool) -> tuple[list[Preference], list[str]]:
    rows: list[Preference] = []
    faults: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    for number, row in numbered_rows(source):
        try:
            if isinstance(row, Unreadable):
                raise RowProblem("unreadable", f"not JSON ({row.reason})")
            preference = _preference(row, source, number, place)
            if soft_labels:
                preference = replace(preference, probability=_probability(row))
            if "provenance" in row and seen.setdefault(preference.id, number) != number:
                raise RowProblem(
                    "id_twice", f"id {preference.id} is also that of row {seen[preference.id]}; expected each id once"
                )
            rows.append(preference)
        except RowProblem as problem:
            faults.append((number, str(problem)))
    if not rows and not faults:
        faults.append((0, "there is no row; expected at least one pair"))
    return rows, group_rows(str(source), sorted(faults))


def _preference(row: Any, source: Path, number: int, place: Split | None) -> Preference:
    if not isinstance(row, dict):
        raise RowProblem("unreadable", f"is {type(row).__name__}; expected an object with {', '.join(_COLUMNS)}")
    missing = [name for name in ("chosen", "rejected") if row.get(name) is None]
    if missing:
        raise RowProblem(
            "no_column",
            f"no column {' and no column '.join(missing)} (found {', '.join(row)}); expected {', '.join(_COLUMNS)}",
        )
    if row.get("prompt") is None:
        row = {**row, **_split_off_prompt(row["chosen"], row["rejected"])}
    prompt, chosen, rejected = _sides(row)
    if chosen == rejected:
        raise RowProblem("same_answers", "chosen equals rejected; expected two different answers")
    id = row.get("id")
    name = id if isinstance(id, str) and id else f"{source.name}:{number}"
    return Preference(name, f"{source}: row {number}", _split(row, place), prompt, chosen, rejected)


def _probability(row: dict[str, Any]) -> float | None:
    found = row.get("preference_probability")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0.0 <= found <= 1.0:
        raise RowProblem("rating", f"preference_probability is {found!r}; expected a number from 0 to 1, or none")
    return float(found)


def _split(row: dict[str, Any], place: Split | None) -> Literal["train", "validation"]:
    split = row.get("split") or place or "train"
    if split in ("train", "validation", "test"):
        split = strictest(split, place) or split
    if split == "train":
        return "train"
    if split == "validation":
        return "validation"
    by_name = " by the name of its file or folder" if split == place and row.get("split") != split else ""
    held_out = f"{by_name}, which is held out for evaluation" if split == "test" else ""
    raise RowProblem("held_out", f"split is {split!r}{held_out}; expected train or validation")


def _sides(row: dict[str, Any]) -> tuple[Side, Side, Side]:
    values = [row[name] for name in _COLUMNS]
    if all(isinstance(value, str) for value in values):
        empty = [f"{name} is empty" for name, value in zip(_COLUMNS, values, strict=True) if not value.strip()]
        if empty:
            raise RowProblem("empty", f"{' and '.join(empty)}; expected text")
        return values[0], values[1], values[2]
    if not all(isinstance(value, Sequence) and not isinstance(value, str) for value in values):
        kinds = ", ".join(f"{name} is {type(value).__name__}" for name, value in zip(_COLUMNS, values, strict=True))
        raise RowProblem("not_text", f"{kinds}; expected three texts or three lists of messages")
    prompt, chosen, rejected = (messages_of(name, value) for name, value in zip(_COLUMNS, values, strict=True))
    check_sides(prompt, chosen, rejected)
    return prompt, chosen, rejected


def _split_off_prompt(chosen: Any, rejected: Any) -> dict[str, Any]:
    """The three columns of a row whose sides both begin with the prompt."""
    if not isinstance(chosen, str | list) or type(chosen) is not type(rejected):
        raise RowProblem(
            "not_text", "no prompt, and chosen and rejected are not of one kind; expected two texts or two lists"
        )
    length = common_length(chosen, rejected)
    if isinstance(chosen, str):
        # A common beginning of two answers ("I" and "It") is no prompt: go back to the end of a word.
        length = max((found.start() for found in re.finditer(r"\s+", chosen[: length + 1])), default=0)
    if length == 0:
        raise RowProblem(
            "no_common_prompt", "no prompt, and chosen and rejected share no beginning; expected a column prompt"
        )
    return {"prompt": chosen[:length], "chosen": chosen[length:], "rejected": rejected[length:]}
