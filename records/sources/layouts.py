"""From a row as its source holds it to this project's columns: by preset, by column names, or as it stands.

What a person names always wins: the row's own columns that say the same thing in another shape are then not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from records.errors import ConfigError
from records.rows import Split
from records.sources.cells import OPTIONAL, Cells, read_cells
from records.sources.comparisons import (
    Comparison,
    Row,
    column,
    compare,
    entries,
    found_columns,
    rank,
    ratings_of,
)
from records.sources.origin import Origin
from records.sources.presets import Fields, Preset, preset_named
from records.sources.rendered import refuse_rendered
from records.sources.sides import RowProblem
from records.sources.split_names import split_named

PROMPT_COLUMNS = ("prompt", "messages", "turns", "transcript", "group", "benign", "check")
_SIDES = ("chosen", "rejected", "chosen_rating", "rejected_rating")
_RATED = ("answers", "ratings", "ranks", "best", "worst")
_OF_A_ROW = ("group", "split")
PAIR_COLUMNS = ("prompt", "messages", *_SIDES, *_RATED, *_OF_A_ROW)
_OF_A_PROMPT = ("prompt", "messages", "turns", "transcript")
# Columns that say the same thing in several shapes; naming one of a shape leaves the row's own of the others aside.
_SHAPES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("prompt",), ("messages",)),
    (_SIDES, _RATED),
    (("ratings",), ("ranks",), ("best", "worst")),
)


def prompt_fields(row: Row, origin: Origin) -> list[Fields]:
    """The prompts of a row, each in this project's columns; the row itself where no preset and no columns are named.

    Raises:
        RowProblem: the row lacks a column that the preset or `columns` names.
    """
    if origin.preset is None and not origin.columns:
        return [read_cells(row) | ({"group": group_of(row, origin)} if "group" in row else {})]
    named = _named_columns(row, origin) | {"group": group_of(row, origin)}
    if origin.preset is None:
        return [named]
    if any(name in named for name in _OF_A_PROMPT):
        return [named]
    return [fields | named for fields in preset_named(origin.preset).prompts(row)]


def row_pairs(
    row: Row, origin: Origin, unrender: Callable[[Row], Row] = refuse_rendered
) -> list[Comparison | RowProblem]:
    """The pairs of a row; none where its answers rank alike. Of several, one that cannot be a pair is its problem.

    Args:
        row: as its source holds it.
        origin: its layout.
        unrender: makes turns of texts that a chat template has rendered (records/sources/rendered.py).

    Raises:
        RowProblem: the row holds no pair; says why.
    """
    named = _named_columns(row, origin)
    if origin.preset is None:
        own = read_cells(_without_rivals(row, named), table=isinstance(row, Cells))
        return _own_pairs(unrender({**own, **named}))
    preset = preset_named(origin.preset)
    prompt = named.get("prompt", named.get("messages"))
    if preset.pairs is not None:
        return [*preset.pairs({**row, **{name: named[name] for name in _SIDES if name in named}}, prompt)]
    if prompt is None:
        (asked,) = preset.prompts(row)
        prompt = asked["prompt"]
    return _own_pairs({"prompt": prompt, **named})


def check_gives_pairs(origin: Origin) -> None:
    """Refuse what gives no pairs: a preset that ranks nothing without named sides, columns that rule each other out.

    Raises:
        ConfigError: says what to name.
    """
    preset = preset_named(origin.preset) if origin.preset else None
    if preset:
        _check_beside(preset, origin)
    for shapes in _SHAPES:
        found = [name for shape in shapes for name in shape if name in origin.columns]
        if sum(any(name in origin.columns for name in shape) for shape in shapes) > 1:
            raise ConfigError(
                f"columns: found {', '.join(found)}, which say the same thing in several ways; expected one of them. "
                "Nothing was written."
            )


def _check_beside(preset: Preset, origin: Origin) -> None:
    if preset.pairs is None and not ({"chosen", "rejected"} <= origin.columns.keys() and preset.takes):
        raise ConfigError(f"preset {origin.preset}: the layout {preset.no_pairs}. Nothing was written.")
    refused = [name for name in origin.columns if name not in preset.takes and name not in _OF_A_ROW]
    if refused:
        raise ConfigError(
            f"preset {origin.preset}: the layout itself says which answer is better; found columns for "
            f"{', '.join(refused)} beside it, expected {', '.join((*sorted(preset.takes), *_OF_A_ROW))} alone. Name "
            "all columns and no preset, or leave these out. Nothing was written."
        )


def group_of(row: Row, origin: Origin) -> str | None:
    """The row's group, by which its split goes instead of by its own turns; a number or a date as its text.

    Raises:
        RowProblem: it is a list or a mapping.
    """
    value = column(row, origin.columns.get("group", "group"))
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, list | tuple | dict | bytes):
        raise RowProblem("not_text", f"group is {type(value).__name__}; expected text or a number")
    return str(value)


def split_of_row(row: Row, origin: Origin) -> Split | None:
    """Which split the row says that it is in; None where it says nothing."""
    name = column(row, origin.columns.get("split", "split"))
    if name is None and "split" not in origin.columns:
        name = column(row, "metadata.split")
    return split_named(name) if isinstance(name, str) else None


def _named_columns(row: Row, origin: Origin) -> Fields:
    fields = {ours: column(row, theirs) for ours, theirs in origin.columns.items()}
    missing = [theirs for ours, theirs in origin.columns.items() if fields[ours] is None and ours not in OPTIONAL]
    if missing:
        raise RowProblem(
            "no_column", f"no column {', '.join(missing)} (found {found_columns(row)}); expected what columns names"
        )
    return read_cells(fields, table=isinstance(row, Cells))


def _without_rivals(row: Row, named: Fields) -> Row:
    """The row without its own columns of a shape that another, of which one is named, stands in for."""
    rivals = {
        name
        for shapes in _SHAPES
        for shape in shapes
        for name in shape
        if any(other in named for others in shapes if others is not shape for other in others)
    }
    kept = {name: value for name, value in row.items() if name not in rivals - named.keys()}
    return Cells(kept) if isinstance(row, Cells) else kept


def _own_pairs(row: Row) -> list[Comparison | RowProblem]:
    prompt = row["messages"] if row.get("prompt") is None and row.get("messages") else row.get("prompt")
    if isinstance(prompt, str) and prompt is row.get("messages"):
        raise RowProblem("not_text", "messages is text; expected a list of messages")
    sides = {"chosen": row.get("chosen", row.get("best")), "rejected": row.get("rejected", row.get("worst"))}
    # Sides that are called chosen and rejected are a label already, whatever else the row ranks.
    if row.get("answers") is not None and (row.get("chosen") is None or row.get("rejected") is None):
        return [*_ranked(prompt, row)]
    missing = [name for name, side in sides.items() if side is None]
    if missing:
        columns = "chosen and rejected, or answers with ratings, ranks, or best and worst"
        raise RowProblem(
            "no_column", f"no column {' and no column '.join(missing)} (found {found_columns(row)}); expected {columns}"
        )
    ratings = ratings_of(row, "chosen_rating", "rejected_rating")
    chosen, rejected = (_answers(side) for side in sides.values())
    if len(chosen) == len(rejected) == 1:
        return [*compare(prompt, chosen[0], rejected[0], ratings)]
    compared = (_compared(prompt, best, worst, ratings) for best in chosen for worst in rejected)
    return [pair for found in compared for pair in found]


def _compared(prompt: Any, best: Any, worst: Any, ratings: Any) -> Iterator[Comparison | RowProblem]:
    try:
        yield from compare(prompt, best, worst, ratings)
    except RowProblem as problem:
        yield problem


def _answers(side: Any) -> list[Any]:
    """A side that is a list of texts is as many answers; each of one side is set over each of the other."""
    return side if isinstance(side, list) and side and all(isinstance(one, str) for one in side) else [side]


def _ranked(prompt: Any, row: Row) -> list[Comparison]:
    answers, ratings = entries(row["answers"], "text", "rating", "rank"), entries(row.get("ratings"))
    ranks = entries(row.get("ranks"))
    if answers and all(isinstance(answer, dict) and "text" in answer for answer in answers):
        ratings = ratings or [answer["rating"] for answer in answers if answer.get("rating") is not None]
        ranks = ranks or [answer["rank"] for answer in answers if answer.get("rank") is not None]
        answers = [answer["text"] for answer in answers]
    if row.get("best") is not None and row.get("worst") is not None:
        return compare(prompt, _picked(answers, row["best"]), _picked(answers, row["worst"]))
    return rank(prompt, answers, ratings or ranks, lower_is_better=not ratings)


def _picked(answers: list[Any], which: Any) -> Any:
    """The answer that `best` or `worst` names, by its text or by its place (from 0), in a table a number as text."""
    if which in answers:
        return which
    place = which
    if isinstance(which, str) and which.isascii() and which.isdigit() and len(which) < 10:
        place = int(which)
    if isinstance(place, int) and not isinstance(place, bool) and 0 <= place < len(answers):
        return answers[place]
    raise RowProblem("rating", f"found {str(which)[:40]!r} as best or worst; expected a place among the answers")
