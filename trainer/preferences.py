"""Preference rows from disk: this project's own pairs, or anybody's data in TRL's preference format.

A path is a folder of this project's shards, a file (`.jsonl`, `.json`, `.parquet`), a folder of such files, or a
dataset saved with `save_to_disk`. A row holds `chosen` and `rejected`, and `prompt` unless both sides begin with it;
each is text (standard format) or a list of messages (conversational format). A column `split` says train or
validation; without one a file named `validation...` or `test...` says it for its rows. Everything is checked before
anything trains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from records.errors import DataError
from records.rows import Message
from records.store import read_rows, shards

Side = str | tuple[Message, ...]
Row = tuple[int, dict[str, Any]]

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


class RowProblem(Exception):
    """What is wrong with one row, in words that fit every row with the same fault."""


def read_preferences(paths: Sequence[Path]) -> list[Preference]:
    """Every row of every path, in order.

    Raises:
        DataError: all problems of all files at once, with row numbers (the first row is 1); nothing was trained.
    """
    rows: list[Preference] = []
    problems: list[str] = []
    for path in paths:
        for source in _sources(path):
            found, wrong = _read_source(source)
            rows += found
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
        splits = json.loads((path / "dataset_dict.json").read_text())["splits"]
        raise DataError(
            f"{path}: a saved dataset of several splits ({', '.join(splits)}); give one of them: {path / splits[0]}."
        )
    if shards(path) or (path / "state.json").exists():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
    if not files:
        raise DataError(
            f"{path}: the folder holds no pairs; expected shards part-*.jsonl or {', '.join(_SUFFIXES)} files."
        )
    return files


def _read_source(source: Path) -> tuple[list[Preference], list[str]]:
    rows: list[Preference] = []
    faults: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    for number, row in _numbered_rows(source, faults):
        try:
            preference = _preference(row, source, number)
            if "provenance" in row and seen.setdefault(preference.id, number) != number:
                raise RowProblem(f"id {preference.id} is also that of row {seen[preference.id]}; expected each id once")
            rows.append(preference)
        except RowProblem as problem:
            faults.append((number, str(problem)))
    if not rows and not faults:
        faults.append((0, "there is no row; expected at least one pair"))
    return rows, group_rows(str(source), sorted(faults))


def _numbered_rows(source: Path, faults: list[tuple[int, str]]) -> Iterator[Row]:
    if source.is_dir() and shards(source):
        yield from enumerate(read_rows(source), 1)
    elif source.is_dir():
        from datasets import load_from_disk

        yield from enumerate(load_from_disk(str(source)), 1)
    elif source.suffix == ".parquet":
        from pyarrow.parquet import read_table

        yield from enumerate(read_table(source).to_pylist(), 1)
    elif source.suffix == ".json":
        yield from _json_rows(source)
    else:
        with open(source, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield number, json.loads(line)
                except json.JSONDecodeError as error:
                    faults.append((number, f"not JSON ({error.msg}); expected one JSON object a line"))


def _json_rows(source: Path) -> Iterator[Row]:
    try:
        rows = json.loads(source.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{source}: not JSON ({error}); expected a list of pairs.") from None
    if not isinstance(rows, list):
        raise DataError(f"{source}: holds {type(rows).__name__}; expected a list of pairs.")
    yield from enumerate(rows, 1)


def _preference(row: Any, source: Path, number: int) -> Preference:
    if not isinstance(row, dict):
        raise RowProblem(f"is {type(row).__name__}; expected an object with {', '.join(_COLUMNS)}")
    missing = [name for name in ("chosen", "rejected") if row.get(name) is None]
    if missing:
        raise RowProblem(
            f"no column {' and no column '.join(missing)} (found {', '.join(row)}); expected {', '.join(_COLUMNS)}"
        )
    if row.get("prompt") is None:
        row = {**row, **_split_off_prompt(row["chosen"], row["rejected"])}
    prompt, chosen, rejected = _sides(row)
    if chosen == rejected:
        raise RowProblem("chosen equals rejected; expected two different answers")
    id = row.get("id")
    name = id if isinstance(id, str) and id else f"{source.name}:{number}"
    return Preference(name, f"{source}: row {number}", _split(row, source), prompt, chosen, rejected)


def _split(row: dict[str, Any], source: Path) -> Literal["train", "validation"]:
    split = row.get("split") or _split_of_name(source)
    if split == "train":
        return "train"
    if split == "validation":
        return "validation"
    held_out = ", which is held out for evaluation" if split == "test" else ""
    raise RowProblem(f"split is {split!r}{held_out}; expected train or validation")


def _split_of_name(source: Path) -> str:
    first = re.split(r"[-_.]", source.name)[0] if source.is_file() else "train"
    if first in ("valid", "validation", "dev", "eval"):
        return "validation"
    return "test" if first == "test" else "train"


def _sides(row: dict[str, Any]) -> tuple[Side, Side, Side]:
    values = [row[name] for name in _COLUMNS]
    if all(isinstance(value, str) for value in values):
        for name, value in zip(_COLUMNS, values, strict=True):
            if not value.strip():
                raise RowProblem(f"{name} is empty; expected text")
        return values[0], values[1], values[2]
    if not all(isinstance(value, Sequence) and not isinstance(value, str) for value in values):
        kinds = ", ".join(f"{name} is {type(value).__name__}" for name, value in zip(_COLUMNS, values, strict=True))
        raise RowProblem(f"{kinds}; expected three texts or three lists of messages")
    prompt, chosen, rejected = (_messages(name, value) for name, value in zip(_COLUMNS, values, strict=True))
    _check_prompt_roles(prompt)
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if [message.role for message in answer] != ["assistant"]:
            found = ", ".join(message.role for message in answer) or "none"
            raise RowProblem(f"turns of {name} are {found}; expected one assistant turn")
        if not answer[0].content.strip():
            raise RowProblem(f"{name} is empty; expected text")
    return prompt, chosen, rejected


def _messages(name: str, turns: Sequence[Any]) -> tuple[Message, ...]:
    messages = []
    for turn in turns:
        # Columnar files give every turn every key that any turn has, as null.
        held = {key: value for key, value in turn.items() if value is not None} if isinstance(turn, dict) else {}
        if set(held) != {"role", "content"} or not isinstance(held["content"], str):
            found = ", ".join(held) if isinstance(turn, dict) else type(turn).__name__
            raise RowProblem(f"a turn of {name} holds {found or 'nothing'}; expected role and content, both text")
        if held["role"] not in ("system", "user", "assistant"):
            raise RowProblem(f"a turn of {name} has role {held['role']!r}; expected system, user or assistant")
        messages.append(Message(role=held["role"], content=held["content"]))
    return tuple(messages)


def _check_prompt_roles(prompt: tuple[Message, ...]) -> None:
    roles = [message.role for message in prompt]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    expected = ["user", "assistant"] * (len(spoken) // 2) + ["user"]
    if spoken != expected:
        found = ", ".join(roles) or "none"
        raise RowProblem(f"turns of prompt are {found}; expected user and assistant in turn, a user turn last")


def _split_off_prompt(chosen: Any, rejected: Any) -> dict[str, Any]:
    """The three columns of a row whose sides both begin with the prompt."""
    if not isinstance(chosen, str | list) or type(chosen) is not type(rejected):
        raise RowProblem("no prompt, and chosen and rejected are not of one kind; expected two texts or two lists")
    length = 0
    while length < min(len(chosen), len(rejected)) and chosen[length] == rejected[length]:
        length += 1
    if isinstance(chosen, str):
        # A common beginning of two answers ("I" and "It") is no prompt: go back to the end of a word.
        length = max((found.start() for found in re.finditer(r"\s+", chosen[: length + 1])), default=0)
    if length == 0:
        raise RowProblem("no prompt, and chosen and rejected share no beginning; expected a column prompt")
    return {"prompt": chosen[:length], "chosen": chosen[length:], "rejected": rejected[length:]}
