"""Rows on disk: a folder of shards `part-00000.jsonl`, `part-00001.jsonl`, ..., or `.parquet` once they are compacted.

One row is one line, written with one call and flushed to the operating system, so `kill -9` loses at most the row that
was being written, and what is left of it is cut off when the folder is opened again. `datasets.load_dataset(folder)`
reads it: the folder's README.md names the column types, so a column that is empty in one shard does no harm.
records/compact.py makes Parquet of the lines; a folder may hold both for a while.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from records.atomic import crash_point
from records.errors import StageError
from records.id_list import known_ids, write_ids
from records.shard import is_parquet, shard_ids, shard_number, shard_rows
from records.shard import shards as shards

ROWS_PER_SHARD = 10_000
_SECONDS_BETWEEN_SYNCS = 1.0


def read_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Every finished row, in writing order, as plain mappings; one at a time. A torn last line is passed over.

    Raises:
        DamagedShardError: a shard holds something that is neither a row nor the torn end of the last one; names it.
    """
    paths = shards(folder)
    for path in paths:
        yield from shard_rows(path, growing=path == paths[-1])


class RowStore:
    """The one writer of a folder of shards.

    Opening it mends a torn tail and finds which rows are there, without reading the rest of them. `append` refuses a
    second row of the same id, so a resumed stage cannot write one twice. Compacted shards are never written to.

    Raises:
        DamagedShardError: a shard's ids cannot be read; `records.shard.set_aside` makes way to do its rows anew.
    """

    def __init__(self, folder: Path, *, rows_per_shard: int = ROWS_PER_SHARD) -> None:
        self.folder = folder
        self.rows_per_shard = rows_per_shard
        folder.mkdir(parents=True, exist_ok=True)
        _cut_torn_tail(folder)
        self.ids: set[str] = set()
        # By name, not by count: a damaged shard may have been taken out of the folder.
        self._index, self._ids_in_shard = 0, list[str]()
        existing = shards(folder)
        for path in existing:
            found = _ids(path, full=path != existing[-1])
            self.ids.update(found)
            self._index, self._ids_in_shard = shard_number(path), found
        if existing and is_parquet(existing[-1]):
            self._index, self._ids_in_shard = self._index + 1, []
        self._file: IO[bytes] | None = None
        self._synced = time.monotonic()

    def append(self, row: BaseModel) -> None:
        """Write one row; it survives the death of this process when this returns.

        Raises:
            StageError: the file system refuses the write (a full disk, a vanished folder); nothing torn is left.
        """
        id = row.id  # type: ignore[attr-defined]
        assert id not in self.ids, f"row {id} is already in {self.folder}"
        line = row_line(row)
        crash_point("row-before")
        try:
            self._write(line)
        except OSError as error:
            self._drop_shard()
            raise self._refused(error) from error
        crash_point("row-after")
        self.ids.add(id)
        self._ids_in_shard.append(id)

    def _write(self, line: bytes) -> None:
        if len(self._ids_in_shard) >= self.rows_per_shard:
            self.close()
            write_ids(self._path(), self._ids_in_shard)
            crash_point("shard-roll")
            self._index, self._ids_in_shard = self._index + 1, []
        if self._file is None:
            self._file = open(self._path(), "ab", buffering=0)  # noqa: SIM115
        if os.environ.get("CONSTITUTE_CRASH_AT", "").startswith("row-torn"):
            self._file.write(line[: len(line) // 2])
            crash_point("row-torn")
            self._file.write(line[len(line) // 2 :])
            return
        written = self._file.write(line)
        # A full disk may take a part of the row and report only that.
        if written != len(line):
            raise OSError(28, "No space left on device")
        if time.monotonic() - self._synced > _SECONDS_BETWEEN_SYNCS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def adopt(self, shard: Path, ids: Collection[str]) -> None:
        """Take a shard that another writer has closed as it is; `ids` are those of its rows, none of them here yet.

        Raises:
            StageError: the file system refuses; the shard stays where it was.
        """
        assert not any(id in self.ids for id in ids), f"{shard} holds rows that are already in {self.folder}"
        self.close()
        if self._ids_in_shard:
            write_ids(self._path(), self._ids_in_shard)
        while self._path().exists():
            self._index += 1
        try:
            os.rename(shard, self._path())
        except OSError as error:
            raise self._refused(error) from error
        self.ids.update(ids)
        self._ids_in_shard = [*ids]

    def _path(self) -> Path:
        return self.folder / f"part-{self._index:05d}.jsonl"

    def close(self) -> None:
        """Hand the last rows to the disk and close the shard; `append` opens it again.

        Raises:
            StageError: the file system refuses.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            with file:
                os.fsync(file.fileno())
        except OSError as error:
            raise self._refused(error) from error

    def _drop_shard(self) -> None:
        """After a refused write: close without asking more of the disk, and cut off the part of a row that it took."""
        file, self._file = self._file, None
        with suppress(OSError):
            if file is not None:
                file.close()
            _cut_torn_tail(self.folder)

    def _refused(self, error: OSError) -> StageError:
        return StageError(
            f"{self.folder}: a row could not be written ({error.strerror or error}); the rows before it are safe. "
            "Make room or mend the folder, then run the same command again: it goes on from here."
        )


def _ids(path: Path, *, full: bool) -> list[str]:
    """The ids of a shard; those of a full one are noted where they had to be read."""
    if is_parquet(path):
        return list(shard_ids(path))
    found = known_ids(path)
    if found is None:
        found = list(shard_ids(path))
        if full:
            write_ids(path, found)
    return found


def row_line(row: BaseModel) -> bytes:
    """The row as one line of JSON in UTF-8; a lone surrogate, which UTF-8 cannot hold, as its JSON escape."""
    try:
        return row.model_dump_json().encode() + b"\n"
    except PydanticSerializationError:
        return json.dumps(row.model_dump(), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _cut_torn_tail(folder: Path) -> None:
    """Cut what a killed writer left of its last row; a shard without any row goes, since readers refuse empty files."""
    for path in shards(folder)[-1:]:
        if is_parquet(path):
            return
        with open(path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            end = _end_of_last_line(file, size)
            if end < size:
                file.truncate(end)
        if end == 0:
            path.unlink()


def _end_of_last_line(file: IO[bytes], size: int) -> int:
    """The position after the last newline; 0 where there is none."""
    position = size
    while position > 0:
        start = max(0, position - 65_536)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0
