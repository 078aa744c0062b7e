"""Rows of a source as plain mappings with their numbers, whatever holds them; nothing of a row is judged here.

`.jsonl`, `.json` (a list, or JSON lines), `.csv` (all values text) and `.parquet`, each as it is or (the first three)
with `.gz`; a folder of such files or of this project's shards; a data set saved with `save_to_disk`; the hub; DuckDB.
A row that cannot be read is `Unreadable` with its number, so that every other row is still seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from records.errors import DataError
from records.sources.origin import Origin
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
        rows = _hub_rows(origin)
    else:
        yield from _path_rows(Path(origin.path or ""), origin.split)
        return
    for number, row in enumerate(rows, 1):
        yield Found(origin.name, number, row)


def _path_rows(path: Path, split: str | None) -> Iterator[Found]:
    if path.is_dir() and not _is_saved(path) and not shards(path):
        files = sorted(file for file in path.rglob("*") if file.is_file() and kind_of(file) in SUFFIXES)
        if not files:
            raise DataError(f"{path}: the folder holds no {', '.join(SUFFIXES)} file; expected at least one")
    elif path.is_dir() or (path.is_file() and kind_of(path) in SUFFIXES):
        files = [path]
    elif path.is_file():
        raise DataError(f"{path}: found a {kind_of(path) or 'nameless'} file; expected {', '.join(SUFFIXES)}")
    else:
        raise DataError(f"{path}: no such file; expected {', '.join(SUFFIXES)}, or the folder of a saved data set")
    for file in files:
        unit = "line" if kind_of(file) == ".jsonl" else "row"
        for number, row in numbered_rows(file, split):
            yield Found(str(file), number, row, unit)


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
            yield from enumerate(_saved_rows(path, split) if _is_saved(path) else read_rows(path), 1)
        elif kind_of(path) == ".parquet":
            yield from enumerate(_parquet_rows(path), 1)
        elif kind_of(path) == ".csv":
            yield from _csv_rows(path)
        elif kind_of(path) == ".json":
            yield from _json_rows(path)
        else:
            yield from _json_lines(path)
    except (OSError, EOFError) as error:
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
    elif not isinstance(value, Unreadable):
        yield 1, value
    elif data.lstrip().startswith((b"{", b"\xef\xbb\xbf{")):
        yield from _json_lines(path)
    else:
        raise DataError(f"{path}: not JSON ({value.reason}); expected a list of rows, or one row a line")


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
    return dict(zip(header, cells, strict=True))


def _parquet_rows(path: Path) -> Iterator[Any]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with open(path, "rb") as file:
            for batch in ParquetFile(file).iter_batches(_BATCH):
                yield from batch.to_pylist()
    except ArrowException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a Parquet file that can be read ({reason}); expected one") from None


def _is_saved(path: Path) -> bool:
    return (path / "dataset_dict.json").exists() or (path / "state.json").exists()


def _saved_rows(path: Path, split: str | None) -> Iterator[Any]:
    from datasets import load_from_disk

    if (path / "dataset_dict.json").exists():
        splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        if split is None or split not in splits:
            raise DataError(f"{path}: found {split or 'no split'}; expected split: one of {', '.join(splits)}")
        path = path / split
    yield from load_from_disk(str(path))


def _hub_rows(origin: Origin) -> Iterator[Any]:
    from datasets import load_dataset

    split = origin.split or "train"
    try:
        rows = load_dataset(origin.hub, origin.subset, split=split, revision=origin.revision)
    except Exception as error:  # the hub's client has no common error: network, cache, names and formats differ
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{origin.name}: the hub data set cannot be loaded ({reason}); expected a network, or a copy in the cache, "
            f"and a data set with a split {split} that needs no code. Offline, save it where there is a network and "
            "name the folder by path:"
        ) from None
    yield from rows
