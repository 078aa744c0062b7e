"""Rows of a source as plain mappings with their numbers, whatever holds them; nothing of a row is judged here.

`.jsonl`, `.json` (a list, JSON lines, or an AnnotatedPairs file), `.csv` (all values text) and `.parquet`, each as it
is or (the first three) with `.gz`; a folder of such files or of this project's shards; a data set saved with
`save_to_disk`; the hub; a database. A row that cannot be read is `Unreadable` with its number, so that every other row
is still seen.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from records.errors import ConstituteError, DataError
from records.rows import Split
from records.sources.cells import Cells
from records.sources.data_sets import hub_rows, is_saved, saved_rows
from records.sources.origin import Origin
from records.sources.split_names import is_of_split, split_named, split_of_place
from records.store import read_rows, shards

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
_BATCH = 1024
_LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True)
class Unreadable:
    """A row that is not what its file's kind holds, and why."""

    reason: str


class Found(NamedTuple):
    """One row as it stands in its source. `number` counts from 1: the line, where `unit` is line."""

    source: str
    number: int
    row: Any
    unit: str = "row"
    split: Split | None = None
    """What the source's split, folder or file name says of all its rows."""

    @property
    def where(self) -> str:
        """The row's place as messages name it."""
        return f"{self.source}, {self.unit} {self.number}"


def read_origin(origin: Origin) -> Iterator[Found]:
    """Every row of a source, in its order.

    Raises:
        DataError: the source is not there, or is not what its name says; single bad rows are `Unreadable`.
    """
    if origin.sql is not None:
        from records.sources.sql import query_rows

        rows = query_rows(origin.sql.connect, origin.sql.query)
    elif origin.hub is not None:
        rows = hub_rows(origin)
    else:
        yield from _path_rows(Path(origin.path or ""), origin.split)
        return
    split = split_named(origin.split) if origin.split else None
    for number, row in enumerate(rows, 1):
        yield Found(origin.name, number, row, split=split)


def _path_rows(path: Path, split: str | None) -> Iterator[Found]:
    for file in _files(path, split):
        unit = "line" if file.is_file() and kind_of(file) == ".jsonl" else "row"
        # The rows of this project's own shards say themselves which split they are in.
        said = None if is_own(file) else split_of_place(file, path)
        said = split_named(split) if split and file.is_dir() else said
        for number, row in numbered_rows(file, split):
            yield Found(str(file), number, row, unit, said)


def _files(path: Path, split: str | None) -> list[Path]:
    """The files, or the one folder, that hold the rows."""
    if path.is_dir() and (is_saved(path) or is_own(path)):
        if split is not None and not (path / "dataset_dict.json").exists():
            raise DataError(f"{path}: found split: {split}, and a folder without splits; expected no split here")
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and kind_of(file) in SUFFIXES)
        if not files:
            raise DataError(f"{path}: the folder holds no {', '.join(SUFFIXES)} file; expected at least one")
        taken = [file for file in files if split is None or is_of_split(file, path, split)]
        if not taken:
            raise DataError(
                f"{path}: found no file of split {split} by its name; expected such as {split}-00000{files[0].suffix}"
            )
        return taken
    if path.is_file() and kind_of(path) in SUFFIXES:
        if split is not None:
            raise DataError(f"{path}: found split: {split}, and one file, all of which is read; expected no split here")
        return [path]
    if path.is_file():
        raise DataError(f"{path}: found a {kind_of(path) or 'nameless'} file; expected {', '.join(SUFFIXES)}")
    raise DataError(f"{path}: no such file; expected {', '.join(SUFFIXES)}, or the folder of a saved data set")


def is_own(folder: Path) -> bool:
    """Whether a folder holds this project's shards, by their first row: others name files `part-...jsonl` too.

    A shard that cannot be read says nothing; its folder is then read file by file, where each bad row is told.
    """
    if not folder.is_dir() or not shards(folder):
        return False
    try:
        row = next(iter(read_rows(folder)), None)
    except (ConstituteError, OSError, ValueError, RecursionError):
        return False
    # Of a chain's outcome, of an imported pair, of a row that was none.
    marks = ({"provenance"}, {"source", "row", "split"}, {"source", "row", "reason"})
    return isinstance(row, dict) and isinstance(row.get("id"), str) and any(mark <= row.keys() for mark in marks)


def kind_of(path: Path) -> str:
    """The ending that says what a file holds; `.gz` after it says nothing."""
    return Path(path.name.removesuffix(".gz")).suffix


def numbered_rows(path: Path, split: str | None = None) -> Iterator[tuple[int, Any]]:
    """The rows of one file, folder of shards or saved data set, numbered from 1.

    Raises:
        DataError: the file as a whole is not what its name says.
    """
    try:
        if path.is_dir():
            yield from enumerate(saved_rows(path, split) if is_saved(path) else read_rows(path), 1)
        elif kind_of(path) == ".parquet":
            yield from enumerate(_parquet_rows(path), 1)
        elif kind_of(path) == ".csv":
            yield from _csv_rows(path)
        elif kind_of(path) == ".json":
            yield from _json_rows(path)
        else:
            yield from _json_lines(path)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected a readable file") from None


def _opened(path: Path) -> IO[bytes]:
    if path.suffix != ".gz":
        return open(path, "rb")
    import gzip

    return gzip.open(path, "rb")  # type: ignore[return-value]


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    # As bytes: a line that is not UTF-8 is a problem of that line alone.
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _json_value(line)


def _json_value(data: bytes) -> Any:
    """The value, lone surrogates and NaN included; what they mean in a column is for its reader to say."""
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Unreadable(f"found bytes that are not UTF-8 (at byte {error.start}); expected UTF-8 text")
    except RecursionError:
        return Unreadable("found JSON nested too deeply; expected one object")
    except ValueError as error:
        return Unreadable(f"{error}; expected one JSON object")


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    with _opened(path) as file:
        data = file.read()
    value = _json_value(data)
    if isinstance(value, list):
        yield from enumerate(value, 1)
    elif isinstance(value, dict) and {"metadata", "annotators"} <= value.keys() and _comparisons(value) is not None:
        yield from enumerate(_comparisons(value) or [], 1)
    elif not isinstance(value, Unreadable):
        yield 1, value
    elif data.lstrip().startswith((b"{", b"\xef\xbb\xbf{")):
        yield from _json_lines(path)
    else:
        raise DataError(f"{path}: not JSON ({value.reason}); expected a list of rows, or one row a line")


def _comparisons(document: dict[str, Any]) -> list[Any] | None:
    """The comparisons of an AnnotatedPairs file, each with the name of the file's default annotator."""
    metadata, found = document["metadata"], document.get("comparisons")
    if not isinstance(metadata, dict) or not isinstance(found, list):
        return None
    known = {"default_annotator": metadata.get("default_annotator")}
    return [{**comparison, **known} if isinstance(comparison, dict) else comparison for comparison in found]


def _csv_rows(path: Path) -> Iterator[tuple[int, Any]]:
    import csv

    # The csv module refuses cells beyond 128 KiB unless told otherwise, for the whole process at once.
    csv.field_size_limit(_LONGEST_CELL)
    with _opened(path) as file:
        # Bytes that are no UTF-8 become lone surrogates, which no UTF-8 file can hold: their row alone is unreadable.
        lines = (line.decode("utf-8", "surrogateescape") for line in file)
        reader = csv.reader(_without_mark(lines), strict=True)
        try:
            header = next(reader, [])
            if len(set(header)) != len(header):
                raise DataError(f"{path}: found a column name twice ({', '.join(header)}); expected each once")
            for number, cells in enumerate((cells for cells in reader if cells), 1):
                yield number, _csv_row(header, cells)
        except csv.Error as error:
            raise DataError(f"{path}: not CSV near line {reader.line_num} ({error}); expected quoted cells") from None


def _without_mark(lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line.removeprefix("\ufeff") if number == 0 else line


def _csv_row(header: list[str], cells: list[str]) -> Any:
    if len(cells) != len(header):
        return Unreadable(f"found {len(cells)} cells; expected {len(header)}, as the first line names columns")
    if any("\udc80" <= mark <= "\udcff" for cell in cells for mark in cell):
        return Unreadable("found bytes that are not UTF-8; expected UTF-8 text")
    return Cells(zip(header, cells, strict=True))


def _parquet_rows(path: Path) -> Iterator[Any]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with open(path, "rb") as file:
            for batch in ParquetFile(file).iter_batches(_BATCH):
                yield from _rows_of(batch)
    except ArrowException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a Parquet file that can be read ({reason}); expected one") from None


def _rows_of(batch: Any) -> list[Any]:
    """The rows of a batch; text that is not UTF-8 or a date beyond the calendar makes bad rows among good ones."""
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):
        return [_one_row(batch, index) for index in range(batch.num_rows)]


def _one_row(batch: Any, index: int) -> Any:
    try:
        return batch.slice(index, 1).to_pylist()[0]
    except (ValueError, OverflowError) as error:
        return Unreadable(f"found a value that cannot be read ({str(error).splitlines()[0]}); expected readable values")
