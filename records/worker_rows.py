"""Rows of a round made by several workers: each writes where nobody else does, and one collector brings them together.

`workers/<name>/pairs` and `.../rejects` beside the round's own folders, where all machines share a file system; objects
`<url>/<round>/<name>-00000.jsonl` elsewhere. A name is used by one start of one worker and never again. A row whose id
is already in the round, whatever kind of row that is, is a duplicate and goes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol

from records.row_objects import ObjectRows, filesystem, list_objects, round_url, told
from records.rows import Pair, Reject
from records.shard import shard_ids, shards
from records.store import RowStore, read_rows

WORKERS = "workers"
KINDS: dict[str, type[Pair | Reject]] = {"pairs": Pair, "rejects": Reject}


class WorkerRows(Protocol):
    """Where one start of a worker puts its rows."""

    def append(self, row: Pair | Reject) -> None:
        """Take a row.

        Raises:
            StageError: it cannot be written.
        """
        ...

    def settle(self, *, all: bool) -> list[str]:
        """Ids of the rows that are safe from now on. With `all`, of every row so far; else those written anyway."""
        ...

    def close(self) -> None:
        """Make all rows safe; there are no more."""
        ...


class LocalRows:
    """Shards in a folder of the worker's own; a row is safe when it is appended."""

    def __init__(self, folder: Path) -> None:
        self._stores = {kind: RowStore(folder / kind) for kind in KINDS}
        self._ids: list[str] = []

    def append(self, row: Pair | Reject) -> None:
        """See `WorkerRows`."""
        self._stores[_kind(row)].append(row)
        self._ids.append(row.id)

    def settle(self, *, all: bool) -> list[str]:
        """See `WorkerRows`."""
        ids, self._ids = self._ids, []
        return ids

    def close(self) -> None:
        """See `WorkerRows`."""
        for store in self._stores.values():
            store.close()


def open_rows(url: str | None, folder: Path, name: str) -> WorkerRows:
    """Where a worker's rows of a round go; `folder` is the round's."""
    return ObjectRows(round_url(url, folder), name) if url else LocalRows(folder / WORKERS / name)


def own_ids(folder: Path, name: str) -> set[str]:
    """The chains of which a worker that is gone has left whole rows in the round's folder."""
    return {row["id"] for kind in KINDS for row in read_rows(folder / WORKERS / name / kind)}


def collect(folder: Path, url: str | None = None, closed: Collection[str] = ()) -> int:
    """Bring the workers' rows into a round's `pairs/` and `rejects/`, each id once.

    A kill at any instant loses nothing: the next collection goes on. Shards of workers that have closed them are moved
    as they are; those of others are copied row by row, since a worker that is only thought dead may still be writing.

    Args:
        folder: the round's.
        url: where workers put objects, if they do.
        closed: names of the workers that have closed their shards.

    Returns:
        How many rows were duplicates.

    Raises:
        StageError: a row cannot be written, or an object cannot be read.
        DamagedShardError: a shard holds something else than rows.
    """
    workers = sorted(path for path in (folder / WORKERS).glob("*") if path.is_dir())
    objects = list_objects(url, folder) if url else []
    if not workers and not objects:
        return 0
    stores = {kind: RowStore(folder / kind) for kind in KINDS}
    try:
        for worker in workers:
            if worker.name in closed:
                _adopt(worker, stores)
        duplicates = sum(not _copied(row, stores) for row in _rows_left(workers, objects))
    finally:
        for store in stores.values():
            store.close()
    shutil.rmtree(folder / WORKERS, ignore_errors=True)
    for place in objects:
        with told(place, "removed", "its rows are safe in the run folder"):
            files, path = filesystem(place)
            files.rm_file(path)
    return duplicates


def _adopt(worker: Path, stores: dict[str, RowStore]) -> None:
    """Move the shards in which every row is new; the others stay, to be copied."""
    for kind in KINDS:
        for shard in shards(worker / kind):
            ids = list(shard_ids(shard))
            if len(set(ids)) == len(ids) and not any(id in store.ids for store in stores.values() for id in ids):
                stores[kind].adopt(shard, ids)


def _copied(row: Pair | Reject, stores: dict[str, RowStore]) -> bool:
    """Whether a row was new, and is now among the round's."""
    if any(row.id in store.ids for store in stores.values()):
        return False
    stores[_kind(row)].append(row)
    return True


def _rows_left(workers: list[Path], objects: list[str]) -> Iterator[Pair | Reject]:
    for worker in workers:
        for kind, model in KINDS.items():
            for row in read_rows(worker / kind):
                yield model.model_validate(row)
    for place in objects:
        with told(place, "read", "it holds rows of this run"):
            files, path = filesystem(place)
            lines = files.cat_file(path).splitlines()
        for line in lines:
            row = json.loads(line)
            yield KINDS["rejects" if "reason" in row else "pairs"].model_validate(row)


def _kind(row: Pair | Reject) -> str:
    return "pairs" if isinstance(row, Pair) else "rejects"
