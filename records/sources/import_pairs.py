"""Anybody's preference data as a folder of pairs that the trainer and `datasets.load_dataset` read.

Train and validation pairs lie in the folder's shards, pairs on test prompts in `test/`, where no trainer looks, and
rows that are no pairs in `rejects/`, each with its reason. The split goes by the same hash of the user turns (or of the
group) as a run's, so a pair on a prompt that a run holds out is held out here too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from records.atomic import built_aside
from records.digest import digest_json
from records.errors import ConfigError, DataError
from records.features import write_card
from records.markdown import escaped, one_line
from records.progress import progress
from records.rows import Message, Split, TrailEntry
from records.sources.cells import json_text
from records.sources.comparisons import Comparison, Row
from records.sources.layouts import PAIR_COLUMNS, check_gives_pairs, group_of, row_pairs, split_of_row
from records.sources.origin import Origin
from records.sources.readers import Found, Unreadable, read_origin
from records.sources.rendered import refuse_rendered
from records.sources.sides import RowProblem, RowReason
from records.sources.split_names import strictest
from records.splits import SplitShares, split_of
from records.store import RowStore
from records.strict import Strict

_MOST_SHOWN = 5


class ImportedPair(Strict):
    """One pair in TRL's conversational preference format; a larger rating is a better answer."""

    id: str
    """Digest of the three sides: equal triples have equal ids."""
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    split: Split
    group: str | None = None
    source: str
    row: int
    """Number of the row (or line) in the source, counted from 1."""
    chosen_rating: float | None = None
    rejected_rating: float | None = None
    trail: tuple[TrailEntry, ...] = ()
    """The critiques and revisions between rejected and chosen, where the source keeps them."""


class ImportReject(Strict):
    """One row that gave no pair, or of whose pairs one is none, with its reason; `content` is the whole row as JSON."""

    id: str
    source: str
    row: int
    reason: RowReason
    detail: str
    content: str


@dataclass
class ImportCounts:
    """What became of the rows."""

    rows: int = 0
    pairs: Counter[str] = field(default_factory=Counter)
    """Pairs by split."""
    ties: int = 0
    """Rows whose answers rank alike."""
    duplicates: int = 0
    """Pairs whose prompt, chosen and rejected stood earlier, all three to the letter."""
    faults: Counter[RowReason] = field(default_factory=Counter)
    """Bad rows by reason; of a row of many answers, each pair that is none."""
    first_faults: dict[RowReason, list[str]] = field(default_factory=dict)
    """The first of them, each with its place and what was found."""

    def note(self, where: str, problem: RowProblem) -> None:
        """Count a bad row."""
        self.faults[problem.reason] += 1
        shown = self.first_faults.setdefault(problem.reason, [])
        if len(shown) < _MOST_SHOWN:
            shown.append(f"{where}: {problem}")

    def lines(self, shown: Callable[[str], str] = one_line) -> list[str]:
        """The counts in words, the bad rows by reason with the places of the first.

        Args:
            shown: what makes a text from a file harmless where the lines go; by default, to a terminal.
        """
        splits = ", ".join(f"{self.pairs[split]} {split}" for split in ("train", "validation", "test"))
        lines = [
            f"rows: {self.rows}",
            f"pairs: {self.pairs.total()} ({splits})",
            f"ties: {self.ties} rows whose answers rank alike",
            f"duplicates: {self.duplicates} pairs equal in prompt, chosen and rejected, left out",
            f"bad rows: {self.faults.total()}",
        ]
        for reason, count in self.faults.most_common():
            more = f"; and {count - _MOST_SHOWN} more" if count > _MOST_SHOWN else ""
            lines.append(f"  {reason}: {count} ({'; '.join(map(shown, self.first_faults[reason]))}{more})")
        return lines


def import_pairs(
    origin: Origin, output: Path, shares: SplitShares, *, unrender: Callable[[Row], Row] = refuse_rendered
) -> ImportCounts:
    """Write a folder of pairs; it is there whole or not at all.

    Args:
        origin: where the rows come from, and their layout.
        output: the folder to write; must not exist.
        shares: of the prompts that are held out; take a run's own, to hold out what it holds out.
        unrender: makes turns of the texts of a row that a chat template has rendered; by default such a row is bad.

    Raises:
        ConfigError: the output exists, a column is unknown, or what is named gives no pairs.
        DataError: the source cannot be read, or none of its rows is a pair (lists why).
        StageError: the file system refuses a row, or another process writes the same folder.
    """
    if output.exists():
        raise ConfigError(f"{output}: there is such a folder already; expected a new name. Nothing was written.")
    unknown = [name for name in origin.columns if name not in PAIR_COLUMNS]
    if unknown:
        raise ConfigError(f"columns: found {', '.join(unknown)}; expected some of {', '.join(PAIR_COLUMNS)}.")
    check_gives_pairs(origin)
    with built_aside(output) as folder:
        counts = _write(origin, folder, shares, unrender)
        if not counts.pairs.total():
            raise DataError("\n".join([f"{origin.name}: found no pair; nothing was written.", *counts.lines()]))
        _write_cards(folder, origin, counts)
    return counts


def _write(origin: Origin, folder: Path, shares: SplitShares, unrender: Callable[[Row], Row]) -> ImportCounts:
    counts = ImportCounts()
    with (
        closing(RowStore(folder)) as kept,
        closing(RowStore(folder / "test")) as held_out,
        closing(RowStore(folder / "rejects")) as rejects,
        progress(f"import {origin.name}", None) as display,
    ):
        for found in read_origin(origin):
            counts.rows += 1
            bad = good = 0
            for pair in _imported(found, origin, shares, unrender):
                if isinstance(pair, RowProblem):
                    counts.note(found.where, pair)
                    rejects.append(_reject(found, pair, counts.rows, bad))
                    bad += 1
                    continue
                good += 1
                if pair.id in kept.ids or pair.id in held_out.ids:
                    counts.duplicates += 1
                    continue
                (held_out if pair.split == "test" else kept).append(pair)
                counts.pairs[pair.split] += 1
            counts.ties += not good and not bad
            display.advance(1, pairs=counts.pairs.total(), bad_rows=counts.faults.total())
    for note in folder.rglob(".part-*.ids"):  # of use to a writer that goes on; this one is done
        note.unlink()
    return counts


def _imported(
    found: Found, origin: Origin, shares: SplitShares, unrender: Callable[[Row], Row]
) -> Iterator[ImportedPair | RowProblem]:
    try:
        pairs, group = _read(found, origin, unrender)
    except RowProblem as problem:
        yield problem
        return
    for pair in pairs:
        if isinstance(pair, RowProblem):
            yield pair
            continue
        by_hash = split_of(pair.prompt, group, shares)
        yield ImportedPair(
            id=_triple_id(pair),
            **vars(pair),
            # What the source holds out stays out; what it trains on may still be held out here.
            split=strictest(by_hash, found.split, split_of_row(found.row, origin)) or by_hash,
            group=group,
            source=found.source,
            row=found.number,
        )


def _read(
    found: Found, origin: Origin, unrender: Callable[[Row], Row]
) -> tuple[list[Comparison | RowProblem], str | None]:
    if isinstance(found.row, Unreadable):
        raise RowProblem("unreadable", found.row.reason)
    if not isinstance(found.row, dict):
        raise RowProblem("unreadable", f"is {type(found.row).__name__}; expected an object with named columns")
    return row_pairs(found.row, origin, unrender), group_of(found.row, origin)


def _triple_id(pair: Comparison) -> str:
    sides = (pair.prompt, pair.chosen, pair.rejected)
    return digest_json([[[message.role, message.content] for message in side] for side in sides])[:24]


def _reject(found: Found, problem: RowProblem, index: int, earlier: int) -> ImportReject:
    """One entry of the rejects; `earlier` counts those of the same row before it."""
    content: Any = found.row.reason if isinstance(found.row, Unreadable) else found.row
    return ImportReject(
        id=f"row-{index:08d}" + (f"-{earlier + 1}" if earlier else ""),
        source=found.source,
        row=found.number,
        reason=problem.reason,
        detail=str(problem),
        # Whatever a row held, NaN and dates too, is kept as text, so that one odd row cannot change a column's type.
        content=json_text(content),
    )


def _write_cards(folder: Path, origin: Origin, counts: ImportCounts) -> None:
    """Cards of what is there; a folder without a row goes, since `datasets` refuses data files that match nothing."""
    files = {"train": "part-*.jsonl", "test": "test/part-*.jsonl"}
    for name in ("test", "rejects"):
        if any((folder / name).iterdir()):
            write_card(folder / name, ImportReject if name == "rejects" else ImportedPair)
        else:
            (folder / name).rmdir()
            files.pop(name, None)
    if not counts.pairs["train"] + counts.pairs["validation"]:
        files.pop("train")
    about = [
        f"Preference pairs from {escaped(origin.name)}, imported with constitute"
        + (f", layout {origin.preset}." if origin.preset else "."),
        "The column `split` says train or validation; `test/` holds the pairs on held-out prompts.",
        *(f"- {line.strip()}" for line in counts.lines(escaped)),
    ]
    write_card(folder, ImportedPair, files=files, about="\n\n".join(about[:2]) + "\n\n" + "\n".join(about[2:]))
