"""What ends a generate stage: the JSON lines of a round's `pairs/` and `rejects/` become Parquet shards.

Each shard is written aside, handed to the disk and renamed; when all are there the folder's card names Parquet, and
only then do the lines go. So a reader finds each row once at any moment: shards of one number are one shard
(records/shard.py), and `datasets` follows the card. A kill at any instant is made good by the same call.

Pairs that a filter turned down move to `rejects/` on the way. What was decided is on disk before the first of them
moves, in `moved.json`, and a call that finds it goes by it. A row is a reject first and leaves `pairs/` after, so where
both folders hold an id, the reject counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from records.atomic import crash_point, sync_folder, write_json_atomic, write_text_atomic
from records.chat import encodable
from records.errors import StageError
from records.features import arrow_schema, write_card
from records.id_list import forget_ids
from records.rows import Outcome, Pair, Reject, RejectReason
from records.shard import (
    COLUMNS,
    DamagedShardError,
    columns_digest,
    is_parquet,
    shard_ids,
    shard_lines,
    shard_rows,
    shards,
)
from records.store import RowStore

Moved = Mapping[str, tuple[RejectReason, str]]
"""Pairs that become rejects, by id: the reason, and the same in words."""
_DECISIONS = "moved.json"
_NONE: Moved = MappingProxyType({})
_LINES, _PARQUET = "part-*.jsonl", "part-*.parquet"
# A row group is what a streaming reader holds at once, and so does the writer.
_ROWS_PER_GROUP = 1000
_BYTES_PER_GROUP = 8 << 20


def compact_round(folder: Path, moved: Moved = _NONE) -> int:
    """Turn the rows of a round into Parquet; those of compacted shards stay as they are.

    Args:
        folder: the round's folder. No other process writes there, and no `RowStore` is open.
        moved: pairs that become rejects. Where an earlier call was killed, what that one was told holds instead.

    Returns:
        Rows in which a lone surrogate, which UTF-8 and Parquet cannot hold, became U+FFFD, as models see it.

    Raises:
        DamagedShardError: a shard holds something else than rows; it and what was not yet compacted stay as they are.
        StageError: the file system refuses (a full disk), or `moved.json` is not readable; no row is lost.
    """
    decided = decided_moves(folder)
    if decided is None:
        decided = moved
        if moved:
            write_json_atomic(folder / _DECISIONS, dict(moved))
    crash_point("compact-begun")
    with closing(RowStore(folder / "rejects")) as rejects:
        if decided:
            _add_rejects(folder / "pairs", decided, rejects)
        gone = rejects.ids
    mended = _compact(folder / "pairs", Pair, gone) + _compact(folder / "rejects", Reject)
    (folder / _DECISIONS).unlink(missing_ok=True)
    crash_point("compact-ended")
    return mended


def decided_moves(folder: Path) -> Moved | None:
    """What a compaction that was cut short was told to move; None where none was, or nothing was to move."""
    try:
        found = json.loads((folder / _DECISIONS).read_text(encoding="utf-8"))
        return {id: (reason, detail) for id, (reason, detail) in found.items()}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise StageError(
            f"{folder / _DECISIONS}: not what this project wrote there ({error}); expected the pairs that become "
            "rejects, by id. Take the file away, then run the same command again: it is decided anew."
        ) from error


def forget_moves(folder: Path) -> None:
    """Take back what was decided and not yet done, because rows come to the round that were not looked at then."""
    (folder / _DECISIONS).unlink(missing_ok=True)


def rejected(pair: Pair, reason: RejectReason, detail: str) -> Reject:
    """A pair as the reject that it becomes; its rewrite stays as `final`, its draft stands in `draft` already."""
    columns = {name: getattr(pair, name) for name in Outcome.model_fields}
    return Reject(**columns, reason=reason, detail=detail, final=pair.chosen[-1].content)


def _add_rejects(pairs: Path, decided: Moved, rejects: RowStore) -> None:
    for path in shards(pairs):
        for row in _Rows(path, Pair).read():
            if row["id"] in decided and row["id"] not in rejects.ids:
                rejects.append(rejected(Pair.model_validate(row), *decided[row["id"]]))


def _compact(folder: Path, model: type[BaseModel], without: Container[str] = ()) -> int:
    """Make Parquet of one folder's lines, and of compacted shards that hold rows of these ids; all without such rows.

    Returns:
        How many rows were mended.
    """
    found = shards(folder)
    lines = [path for path in found if not is_parquet(path)]
    replaced = sorted(path for path in folder.glob(_LINES) if path.with_suffix(".parquet") in found)
    schema, mended = _schema(model), 0
    for path in found:
        if path in lines or (without and any(id in without for id in shard_ids(path))):
            rows = _Rows(path, model, without)
            _write_parquet(path.with_suffix(".parquet"), rows, schema)
            mended += rows.mended
    if lines or replaced:
        sync_folder(folder)
        _name_parquet(folder, model)
    for path in [*replaced, *lines]:
        forget_ids(path)
        path.unlink()
        crash_point("lines-removed")
    return mended


def _schema(model: type[BaseModel]) -> Any:
    schema = arrow_schema(model)
    return schema.with_metadata({COLUMNS: columns_digest(schema)})


class _Rows:
    """The rows of a shard in either form, each whole under its model, so that columns added since are there."""

    def __init__(self, path: Path, model: type[BaseModel], without: Container[str] = ()) -> None:
        self.path, self.model, self.without = path, model, without
        self.count = self.mended = self.size = 0

    def groups(self) -> Iterator[list[dict[str, Any]]]:
        """The rows but for those that are left out, as many at a time as a row group holds."""
        group: list[dict[str, Any]] = []
        size = 0
        for row in self.read():
            if row["id"] in self.without:
                continue
            group.append(row)
            self.count += 1
            size += self.size
            if len(group) >= _ROWS_PER_GROUP or size >= _BYTES_PER_GROUP:
                yield group
                group, size = [], 0
        if group:
            yield group

    def read(self) -> Iterator[dict[str, Any]]:
        """Every row; `size` is about how many bytes the last one takes.

        Raises:
            DamagedShardError: something is no row of the model.
        """
        if is_parquet(self.path):
            for number, found in enumerate(shard_rows(self.path), 1):
                self.size = len(str(found))
                yield self._whole(f"row {number}", partial(self.model.model_validate, found))
            return
        for number, line in shard_lines(self.path):
            self.size = len(line)
            yield self._whole(f"line {number}", partial(self._parsed, line))

    def _whole(self, place: str, read: Callable[[], BaseModel]) -> dict[str, Any]:
        try:
            return read().model_dump()
        except (ValueError, RecursionError) as error:
            found = str(error).replace("\n", " ")
            raise DamagedShardError(self.path, f"{place} is not a {self.model.__name__} ({found})") from None

    def _parsed(self, line: bytes) -> BaseModel:
        try:
            return self.model.model_validate_json(line)
        except ValidationError:
            pass
        # The quick reader knows no lone surrogate.
        text = json.dumps(json.loads(line.decode("utf-8")), ensure_ascii=False)
        clean = encodable(text)
        row = self.model.model_validate_json(clean)
        self.mended += clean is not text
        return row


def _write_parquet(place: Path, rows: _Rows, schema: Any) -> None:
    """One shard, there whole or not at all; none where all its rows are left out."""
    aside = place.with_name(f".{place.name}.tmp")
    try:
        _write_aside(aside, rows, schema)
        crash_point("parquet-before-rename")
        if rows.count:
            os.replace(aside, place)
        else:
            place.unlink(missing_ok=True)
    except OSError as error:
        raise StageError(
            f"{place}: the shard could not be written ({error.strerror or error}); its rows are safe where they were. "
            "Make room (about half of what the folder holds) or mend the folder, then run the same command again: it "
            "goes on from here."
        ) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    crash_point("parquet-after-rename")


def _write_aside(path: Path, rows: _Rows, schema: Any) -> None:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile, ParquetWriter

    with open(path, "wb") as file:
        with ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
            for group in rows.groups():
                writer.write_batch(RecordBatch.from_pylist(group, schema))
                crash_point("parquet-torn")
        file.flush()
        os.fsync(file.fileno())
    with open(path, "rb") as held, ParquetFile(held) as written:
        assert written.metadata.num_rows == rows.count, f"{path}: {written.metadata.num_rows} rows of {rows.count}"


def _name_parquet(folder: Path, model: type[BaseModel]) -> None:
    """Have the folder's card name Parquet shards; from then on `datasets` reads those."""
    card = folder / "README.md"
    write_card(folder, model)
    text = card.read_text(encoding="utf-8")
    if _LINES in text:
        write_text_atomic(card, text.replace(_LINES, _PARQUET))
