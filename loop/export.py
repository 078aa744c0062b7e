"""`constitute export`: stored pairs in the layouts that other tools read, with a dataset card.

Rows go through one at a time, so memory does not grow with their number. All is written aside and takes its place as a
whole at the end: an export is there complete, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from loop.export_card import Written, card_text
from loop.export_files import Files
from loop.export_source import Source, Tally, open_source, read_pairs, read_rejects
from loop.export_wanted import ANNOTATED, Wanted, wrong
from records.annotated_pairs import LABEL, METADATA_KEYS, VERSION, annotators, comparison, short_id
from records.atomic import built_aside, write_text_atomic
from records.errors import ConfigError, ConstituteError, DataError
from records.layouts import LeftOutError, NemoRow, OpenCaiRow, StandardRow, nemo_row, open_cai_row, standard_row
from records.progress import progress
from records.rows import Pair
from records.store import row_line

_ROWS: Mapping[str, type[BaseModel]] = {
    "trl": Pair,
    "trl-standard": StandardRow,
    "nemo-rl": NemoRow,
    "open-cai": OpenCaiRow,
}
Opened = TypeVar("Opened")


def export(wanted: Wanted) -> Tally:
    """Write the pairs in the layout asked for, and the card.

    Returns:
        What was written and what was left out, counted.

    Raises:
        ConfigError: all that is wrong with what is asked for, at once; nothing was written.
        DataError: rows that cannot be exported, all at once; nothing was written.
        StageError: another process writes the same export.
    """
    faults = list(wrong(wanted))
    source = _opened(faults, lambda: open_source(wanted.source, wanted.rounds, wanted.constitution))
    template = _opened(faults, lambda: _template(wanted))
    if source and not source.constitution and wanted.to == ANNOTATED:
        faults.append(
            f"--to {ANNOTATED}: {wanted.source} has no constitution, whose principles are the annotators; expected "
            "--constitution NAME_OR_FILE."
        )
    if faults or source is None:
        raise ConfigError("\n".join([*faults, "Nothing was written."]))
    card = wanted.output.with_suffix(".md") if wanted.is_file else Path("README.md")
    files = {wanted.output.name: wanted.output, card.name: card} if wanted.is_file else None
    tally = Tally()
    with built_aside(wanted.output, files) as folder:
        written = _write_rows(folder, wanted, source, template, tally)
        write_text_atomic(folder / card.name, card_text(source, tally, written))
    return tally


def _opened(faults: list[str], open_it: Callable[[], Opened]) -> Opened | None:
    try:
        return open_it()
    except ConstituteError as error:
        faults.append(str(error))
        return None


def _template(wanted: Wanted) -> Any:
    if wanted.to != "trl-standard" or not wanted.template:
        return None
    from records.chat_template import open_template

    return open_template(wanted.template)


def _write_rows(folder: Path, wanted: Wanted, source: Source, template: Any, tally: Tally) -> Written:
    with ExitStack() as opened:
        files = Files(folder, opened, _head(source) if wanted.to == ANNOTATED else b"")
        rejects = Files(folder / "rejects", opened)
        display = opened.enter_context(progress(f"export {source.name} as {wanted.to}", None))
        for place, number, pair in read_pairs(source, tally):
            if pair.split in wanted.splits:
                _write_pair(files, wanted, source, template, tally, (place, number, pair))
            display.advance(1, pairs=tally.pairs.total(), left_out=tally.left_out.total())
        for reject in read_rejects(source, tally):
            if reject.split in wanted.splits:
                tally.rejects[reject.provenance.round, reject.split, reject.reason] += 1
                if wanted.include_rejects:
                    rejects.add(reject.split, f"{reject.split}.jsonl", row_line(reject))
            display.advance(1, rejects=tally.rejects.total())
    tally.refuse_faults()
    _refuse_none(wanted, tally)
    return Written(wanted.to, wanted.licence, template, files.splits, rejects.splits, _ROWS.get(wanted.to))


def _write_pair(
    files: Files, wanted: Wanted, source: Source, template: Any, tally: Tally, found: tuple[Path, int, Pair]
) -> None:
    place, number, pair = found
    cell = pair.provenance.round, pair.split
    try:
        line = _line(pair, wanted.to, source, template)
    except LeftOutError as reason:
        tally.left_out[(*cell, str(reason))] += 1
    except (ValueError, ConfigError) as error:
        tally.fault(place, number, str(error))
    else:
        tally.pairs[cell] += 1
        for split, name in _places(wanted, pair.split):
            files.add(split, name, line)


def _refuse_none(wanted: Wanted, tally: Tally) -> None:
    if not tally.pairs:
        left_out = f" ({tally.left_out.total()} left out)" if tally.left_out else ""
        raise DataError(
            f"{wanted.source}: no pair to export in {', '.join(wanted.splits)}{left_out}; expected at least one. Name "
            "other rounds or splits. Nothing was written."
        )


def _line(pair: Pair, to: str, source: Source, template: Any) -> bytes:
    """One pair as the bytes of its record."""
    if to == ANNOTATED:
        assert source.constitution is not None
        norms = {principle.id: principle.text for principle in source.constitution.principles}
        return json.dumps(comparison(pair, norms), ensure_ascii=False).encode()
    if to == "trl":
        return row_line(pair)
    if to == "trl-standard":
        return row_line(standard_row(pair, template))
    return row_line(nemo_row(pair, source.name) if to == "nemo-rl" else open_cai_row(pair))


def _places(wanted: Wanted, split: str) -> list[tuple[str, str]]:
    """The splits, each with the file, that a pair of this split goes to."""
    if wanted.is_file:
        return [("comparisons" if wanted.to == ANNOTATED else split, wanted.output.name)]
    if wanted.to == ANNOTATED:
        return [("comparisons", "annotated_pairs.json")]  # of both splits, so named after neither
    splits = [f"{split}_prefs", f"{split}_sft"] if wanted.to == "open-cai" else [split]
    return [(name, f"{name}.jsonl") for name in splits]


def _head(source: Source) -> bytes:
    """What an AnnotatedPairs file begins with, up to its first comparison."""
    assert source.constitution is not None
    metadata = {
        "version": VERSION,
        "description": "Preference pairs with what decided them, one annotator a principle.",
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "dataset_name": source.name,
        "default_annotator": short_id(LABEL),
        "available_metadata_keys_per_comparison": list(METADATA_KEYS),
    }
    known = annotators({principle.id: principle.text for principle in source.constitution.principles})
    parts = [f'"{name}": {json.dumps(value)}' for name, value in (("metadata", metadata), ("annotators", known))]
    return f'{{{", ".join(parts)}, "comparisons": [\n'.encode()
