"""From a row as its source holds it to this project's columns: by preset, by column names, or as it stands."""

from __future__ import annotations

import json
from typing import Any

from records.errors import ConfigError
from records.sources.comparisons import (
    Comparison,
    Row,
    column,
    compare,
    entries,
    found_columns,
    rank,
    rating_of,
)
from records.sources.origin import Origin
from records.sources.presets import Fields, preset_named
from records.sources.sides import RowProblem

PROMPT_COLUMNS = ("prompt", "messages", "turns", "transcript", "group", "benign", "check")
_RANKED = ("answers", "ratings", "ranks", "best", "worst")
PAIR_COLUMNS = ("prompt", "messages", "chosen", "rejected", "chosen_rating", "rejected_rating", *_RANKED, "group")
# What a cell of text, as in a CSV file, holds as JSON.
_STRUCTURED = ("messages", "turns", "check", "answers", "ratings", "ranks")
_OF_A_PROMPT = ("prompt", "messages", "turns", "transcript")


def prompt_fields(row: Row, origin: Origin) -> list[Fields]:
    """The prompts of a row, each in this project's columns; the row itself where no preset and no columns are named.

    Raises:
        RowProblem: the row lacks a column that the preset or `columns` names.
    """
    if origin.preset is None and not origin.columns:
        return [_as_cells({**row})]
    named = _named_columns(row, origin) | {"group": group_of(row, origin)}
    if origin.preset is None:
        return [named]
    found = preset_named(origin.preset).prompts(row)
    if any(name in named for name in _OF_A_PROMPT):
        found = [{}]
    return [fields | named for fields in found]


def row_pairs(row: Row, origin: Origin) -> list[Comparison]:
    """The pairs of a row; none where its answers rank alike.

    Raises:
        RowProblem: the row holds no pair; says why.
    """
    if origin.preset is not None:
        preset = preset_named(origin.preset)
        if preset.pairs is not None and not origin.columns.keys() - {"group"}:
            return preset.pairs(row)
        (asked, *_) = preset.prompts(row)
        # A preset's own columns come first, so that those named here win.
        row = {**row, **{name: asked[name] for name in ("prompt", "messages") if name in asked}}
    return _own_pairs(_as_cells({**row, **_named_columns(row, origin)}))


def check_gives_pairs(origin: Origin) -> None:
    """Refuse a preset without pairs, unless columns say which side is better.

    Raises:
        ConfigError: it gives none; says what to name.
    """
    preset = preset_named(origin.preset) if origin.preset else None
    if preset and preset.pairs is None and not {"chosen", "rejected"} <= origin.columns.keys():
        raise ConfigError(f"preset {origin.preset}: the layout {preset.no_pairs}. Nothing was written.")


def group_of(row: Row, origin: Origin) -> str | None:
    """The row's group, by which its split goes instead of by its own turns."""
    value = column(row, origin.columns.get("group", "group"))
    return str(value) if value not in (None, "") else None


def _named_columns(row: Row, origin: Origin) -> Fields:
    fields = {ours: column(row, theirs) for ours, theirs in origin.columns.items()}
    missing = [theirs for ours, theirs in origin.columns.items() if fields[ours] is None and ours not in _OPTIONAL]
    if missing:
        raise RowProblem(
            "no_column", f"no column {', '.join(missing)} (found {found_columns(row)}); expected what columns names"
        )
    return _as_cells(fields)


_OPTIONAL = ("group", "benign", "check", "chosen_rating", "rejected_rating")


def _as_cells(fields: Fields) -> Fields:
    """Text of a table read as what its column holds: JSON in the structured ones, nothing in an empty optional one."""
    for name, value in fields.items():
        if name in _OPTIONAL and value == "":
            fields[name] = None
        elif name in _STRUCTURED and isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            try:
                fields[name] = json.loads(value)
            except (ValueError, RecursionError):
                continue
    if isinstance(fields.get("messages"), list):
        # Columnar files give every turn every key that any turn has, as null.
        fields["messages"] = [_without_nulls(turn) for turn in fields["messages"]]
    return fields


def _without_nulls(turn: Any) -> Any:
    return {key: value for key, value in turn.items() if value is not None} if isinstance(turn, dict) else turn


def _own_pairs(row: Row) -> list[Comparison]:
    prompt = row["messages"] if row.get("prompt") is None and row.get("messages") else row.get("prompt")
    if row.get("answers") is not None:
        return _ranked(prompt, row)
    sides = {"chosen": row.get("chosen", row.get("best")), "rejected": row.get("rejected", row.get("worst"))}
    missing = [name for name, side in sides.items() if side is None]
    if missing:
        columns = "chosen and rejected, or answers with ratings, ranks, or best and worst"
        raise RowProblem(
            "no_column", f"no column {' and no column '.join(missing)} (found {found_columns(row)}); expected {columns}"
        )
    ratings = rating_of(row, "chosen_rating"), rating_of(row, "rejected_rating")
    chosen, rejected = (_answers(side) for side in sides.values())
    return [pair for best in chosen for worst in rejected for pair in compare(prompt, best, worst, ratings)]


def _answers(side: Any) -> list[Any]:
    """A side that is a list of texts is as many answers; each of one side is set over each of the other."""
    return side if isinstance(side, list) and side and all(isinstance(one, str) for one in side) else [side]


def _ranked(prompt: Any, row: Row) -> list[Comparison]:
    answers, ratings = entries(row["answers"]), entries(row.get("ratings"))
    ranks = entries(row.get("ranks"))
    if row.get("best") is not None and row.get("worst") is not None:
        return compare(prompt, _picked(answers, row["best"]), _picked(answers, row["worst"]))
    if all(isinstance(answer, dict) and "text" in answer for answer in answers):
        ratings = ratings or [answer["rating"] for answer in answers if answer.get("rating") is not None]
        ranks = ranks or [answer["rank"] for answer in answers if answer.get("rank") is not None]
        answers = [answer["text"] for answer in answers]
    return rank(prompt, answers, ratings or ranks, lower_is_better=not ratings)


def _picked(answers: list[Any], which: Any) -> Any:
    """The answer that `best` or `worst` names, by its place (from 0) or by its text."""
    if isinstance(which, int) and not isinstance(which, bool) and 0 <= which < len(answers):
        return answers[which]
    if which in answers:
        return which
    raise RowProblem("rating", f"found {str(which)[:40]!r} as best or worst; expected a place among the answers")
