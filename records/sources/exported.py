"""The layouts that `constitute export` writes and whose rows are not in this project's own columns, read back.

A row of NeMo-RL's format is ordered by `rank`, 0 the best. A comparison of an AnnotatedPairs file is labelled by the
file's default annotator, which the reader puts beside it (records/sources/readers.py).
"""

from __future__ import annotations

import json
from typing import Any

from records.sources.comparisons import Comparison, Row, column, compare, entries, found_columns, rank, text_of
from records.sources.sides import RowProblem, messages_of


def nemo_prompt(row: Row) -> list[dict[str, Any]]:
    """The turns before the completions."""
    context = row.get("context")
    if not isinstance(context, list):
        raise RowProblem("no_column", f"no context (found {found_columns(row)}); expected a list of messages")
    return [{"messages": messages_of("context", context)}]


def nemo_pair(row: Row, prompt: Any) -> list[Comparison]:
    """The completion of the lowest rank over that of the highest."""
    completions = entries(row.get("completions"), "rank", "completion")
    if not all(isinstance(one, dict) and "completion" in one and "rank" in one for one in completions):
        raise RowProblem("no_column", "completions holds no rank and completion; expected both for each")
    asked = nemo_prompt(row)[0]["messages"] if prompt is None else prompt
    answers, ranks = ([one[name] for one in completions] for name in ("completion", "rank"))
    return rank(asked, answers, ranks, lower_is_better=True)


def annotated_prompt(row: Row) -> list[dict[str, Any]]:
    """The turns that the metadata keeps to the letter, or else the text of the prompt."""
    kept = column(row, "metadata.prompt_messages")
    if not isinstance(kept, str):
        return [{"prompt": text_of(row, "prompt")}]
    try:
        turns = json.loads(kept)
    except (ValueError, RecursionError):
        turns = None
    if not isinstance(turns, list):
        raise RowProblem("unreadable", "metadata.prompt_messages is no list of messages as JSON; expected one")
    return [{"messages": messages_of("metadata.prompt_messages", turns)}]


def annotated_pair(row: Row, prompt: Any) -> list[Comparison]:
    """The text that the file's default annotator prefers over the other; none where it prefers neither."""
    annotator = row.get("default_annotator")
    given = column(row, "annotations")
    said = given.get(annotator) if isinstance(given, dict) and isinstance(annotator, str) else None
    preferred = said.get("pref") if isinstance(said, dict) else None
    if not isinstance(said, dict) or preferred not in ("a", "b", None):
        raise RowProblem("rating", f"found no preference of the default annotator {annotator}; expected a, b or null")
    asked = (next(iter(annotated_prompt(row)[0].values()))) if prompt is None else prompt
    first, second = (text_of(row, f"response_{side}.text") for side in "ab")
    if preferred is None:
        return []
    return compare(asked, first, second) if preferred == "a" else compare(asked, second, first)
