"""What the report says about each training besides its figures: what was left out, and what it was mixed from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from loop.rounds_table import percent
from records.markdown import bullets

_OF_A_RUN = re.compile(r"round_\d+/pairs")


def training_notes(entries: Sequence[dict[str, Any]]) -> list[str]:
    """One list of lines, or nothing to say.

    Args:
        entries: those of the report's rounds that hold a training.
    """
    lines = [line for entry in entries for line in _notes(entry["round"], entry["training"])]
    return [bullets(lines)] if lines else []


def _notes(index: int, figures: dict[str, Any]) -> Iterator[str]:
    if count := figures.get("contradictory"):
        yield f"Training {index} left out {count} pairs that contradict each other (`round_{index:02d}/left_out.json`)."
    losses = figures.get("losses") or {}
    if set(losses) - {"sigmoid", "sft"}:
        yield f"Training {index}: the loss is {' + '.join(f'{weight:g} {name}' for name, weight in losses.items())}."
    if (known := figures.get("with_probability")) is not None:
        yield f"Training {index}: {known} of {figures['pairs']} pairs had a probability as their label, the others 1."
    sources = figures.get("sources") or []
    if len(sources) > 1 and not all(_OF_A_RUN.fullmatch(source["path"]) for source in sources):
        parts = [_source(source, figures["pairs"]) for source in sources]
        yield f"Training {index} took its {figures['pairs']} pairs from {', '.join(parts)}."


def _source(source: dict[str, Any], total: int) -> str:
    name, count = f"`{source['path'].replace('`', '')}`", f"{source['pairs']} of {source['found']}"
    if source["weight"] is None:
        return f"{name} ({count})"
    return f"{name} ({count}, {percent(source['pairs'] / total)} where {percent(source['weight'])} were asked for)"
