"""One shard of rows: `part-00000.jsonl` while a stage appends to it, `part-00000.parquet` once the stage is done.

A Parquet shard stands for the JSON lines of its number: where both are there, the lines are what a killed compaction
had not yet taken away. A shard that cannot be read is damaged: readers name it, and whoever can do its prompts again
sets it aside in `damaged/`, where it is kept.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from records.atomic import crash_point
from records.digest import digest_json
from records.errors import DataError, StageError
from records.id_list import forget_ids

DAMAGED = "damaged"
_NAME = re.compile(r"part-(\d{5,})\.(jsonl|parquet)")
# How a row of this project begins, as its one serialiser writes it. Any other line is parsed whole.
_BEGINNING = re.compile(rb'\{(?:"schema_version":\d+,)?"id":"([^"\\\x00-\x1f]+)"[,}]')
_BATCH = 64
# In the file's metadata: the digest of its columns, whose names and types no page's checksum covers.
COLUMNS = b"constitute.columns"


class DamagedShardError(DataError):
    """A shard holds something else than rows."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(
            f"{path}: {found}; expected the rows that were written there. The `constitute` command that made it "
            f"(generate, evaluate or run), given again, sets the file aside in {DAMAGED}/ and does its prompts again; "
            "where its round has been trained on, put the file back from a copy, or make the round anew (--redo)."
        )
        self.path, self.found = path, found


def shards(folder: Path) -> list[Path]:
    """The shards of a folder in writing order, one for each number; none where it does not exist."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("part-*")):  # .jsonl before .parquet, which takes its place
        if _NAME.fullmatch(path.name):
            found[shard_number(path)] = path
    return [found[number] for number in sorted(found)]


def shard_number(path: Path) -> int:
    """The number in a shard's name."""
    named = _NAME.fullmatch(path.name)
    assert named, path
    return int(named.group(1))


def is_parquet(path: Path) -> bool:
    """Whether a shard is compacted."""
    return path.suffix == ".parquet"


def shard_rows(path: Path, *, growing: bool = False) -> Iterator[dict[str, Any]]:
    """The rows of one shard as plain mappings.

    Args:
        path: the shard.
        growing: it is the one that is appended to, so a last line without its end is passed over.

    Raises:
        DamagedShardError: something in it is no row.
    """
    if is_parquet(path):
        for batch in parquet_batches(path):
            yield from _listed(path, batch)
        return
    for number, line in shard_lines(path, growing=growing):
        yield _parsed(path, number, line)


def shard_lines(path: Path, *, growing: bool = False) -> Iterator[tuple[int, bytes]]:
    """The lines of a shard that is not compacted, numbered from 1.

    Raises:
        DamagedShardError: there is none.
    """
    number = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if growing and not line.endswith(b"\n"):
                return
            yield number, line
    if not number and not growing:  # a shard begins with its first row
        raise DamagedShardError(path, "it is empty")


def shard_ids(path: Path, *, growing: bool = False) -> Iterator[str]:
    """The ids of a shard's rows, without reading what else is in them where that is safe.

    Raises:
        DamagedShardError: no id can be told for a row.
    """
    if is_parquet(path):
        for batch in parquet_batches(path, ["id"]):
            for id in batch.column(0).to_pylist() if batch.num_columns else [None]:
                yield _known(path, id)
        return
    for number, line in shard_lines(path, growing=growing):
        found = _BEGINNING.match(line) if line.endswith(b"}\n") else None
        try:
            id = found.group(1).decode() if found else _id_of(_parsed(path, number, line))
        except UnicodeDecodeError:
            id = None
        yield _known(path, id, f"line {number} has no id")


def check_shards(folder: Path) -> None:
    """Read all shards of a folder, as cheaply as that finds damage.

    Raises:
        DamagedShardError: something in one of them is no row.
    """
    for path in shards(folder):
        if is_parquet(path):
            for _ in parquet_batches(path):
                pass
        else:
            for number, line in shard_lines(path):
                _parsed(path, number, line)


def set_aside(error: DamagedShardError, folder: Path | None = None) -> str:
    """Move a damaged shard into `damaged/`, beside it or where that is told, and note why; returns that in words.

    Raises:
        StageError: the file system refuses.
    """
    path, folder = error.path, folder or error.path.parent / DAMAGED
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The ending is nobody's, so nothing that looks for data files takes it for one.
        place = next(place for n in count(1) if not (place := folder / f"{path.name}-{n}").exists())
        told = f"{path}: {error.found}. The shard is set aside as {DAMAGED}/{place.name}; its prompts are done again."
        with open(folder / "why.txt", "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(told + "\n")
        forget_ids(path)
        os.rename(path, place)
    except OSError as refused:
        raise StageError(
            f"{path}: {error.found}, and the shard could not be set aside ({refused.strerror or refused}). Make room "
            "or mend the folder, then run the same command again."
        ) from refused
    crash_point("shard-set-aside")
    return told


def count_damaged(folder: Path) -> int:
    """How many shards of a folder were set aside."""
    return sum(1 for _ in (folder / DAMAGED).glob("part-*"))


def _parsed(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedShardError(path, f"line {number} is not a row ({error})") from None


def _id_of(row: Any) -> Any:
    return row.get("id") if isinstance(row, dict) else None


def _known(path: Path, id: Any, found: str = "a row has no id") -> str:
    if not isinstance(id, str):
        raise DamagedShardError(path, found)
    return id


def parquet_batches(path: Path, columns: list[str] | None = None, *, rows: int = _BATCH) -> Iterator[Any]:
    """A Parquet shard as Arrow batches of at most so many rows, every page held against its checksum.

    Args:
        path: the shard.
        columns: those to read; names that the shard does not have are passed over. None reads all.
        rows: in a batch.

    Raises:
        DamagedShardError: it cannot be read, or its columns are not those that were written.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        # Opened here: given a name, Arrow would take some for addresses, and others are no UTF-8.
        with open(path, "rb") as held, ParquetFile(held, page_checksum_verification=True) as file:
            metadata = file.schema_arrow.metadata or {}
            if metadata.get(COLUMNS, columns_digest(file.schema_arrow)) != columns_digest(file.schema_arrow):
                raise DamagedShardError(path, "its columns are not those that were written")
            yield from file.iter_batches(rows, columns=columns, use_threads=False)
    except (ArrowException, ValueError) as error:
        raise DamagedShardError(path, f"it cannot be read as Parquet ({_first_line(error)})") from None
    except OSError as error:
        if error.errno is not None:  # the system's own refusal (too many open files) says nothing of the file
            raise
        raise DamagedShardError(path, f"it cannot be read as Parquet ({_first_line(error)})") from None


def columns_digest(schema: Any) -> bytes:
    """What `COLUMNS` holds for an Arrow schema: names and types, all the way down."""
    return digest_json([[field.name, _described(field.type)] for field in schema]).encode()


def _described(type: Any) -> Any:
    from pyarrow import types

    if types.is_list(type):
        return [_described(type.value_type)]
    if types.is_struct(type):
        return {field.name: _described(field.type) for field in type}
    return str(type)


def _listed(path: Path, batch: Any) -> list[Any]:
    try:
        return batch.to_pylist()
    except ValueError as error:
        raise DamagedShardError(path, f"a value cannot be read ({error})") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
