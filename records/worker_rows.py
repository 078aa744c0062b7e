"""Rows of a round made by several workers: each writes where nobody else does, and one collector brings them together.

`workers/<name>/pairs` and `.../rejects` beside the round's own folders, where all machines share a file system; objects
`<address>/<name>-00000.jsonl` elsewhere. A name is used by one start of one worker and never again. A row whose id
is already in the round, whatever kind of row that is, is a duplicate and goes.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import ValidationError

from records.row_objects import ObjectRows, fetch_object, list_objects, remove_object
from records.rows import Pair, Reject
from records.shard import DamagedShardError, shard_ids, shard_rows, shards
from records.store import RowStore

WORKERS = "workers"
_OBJECT = "part-object-"
KINDS: dict[str, type[Pair | Reject]] = {"pairs": Pair, "rejects": Reject}


class WorkerRows(Protocol):
    """Where one start of a worker puts its rows; one thread appends while another settles."""

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
        self._lock = threading.Lock()

    def append(self, row: Pair | Reject) -> None:
        """See `WorkerRows`."""
        self._stores[_kind(row)].append(row)
        with self._lock:
            self._ids.append(row.id)

    def settle(self, *, all: bool) -> list[str]:
        """See `WorkerRows`."""
        with self._lock:
            ids, self._ids = self._ids, []
        return ids

    def close(self) -> None:
        """See `WorkerRows`."""
        for store in self._stores.values():
            store.close()


def open_rows(address: str | None, folder: Path, name: str) -> WorkerRows:
    """Where a worker's rows of a round go: to an address that is this round's alone, or into the round's folder."""
    return ObjectRows(address, name) if address else LocalRows(folder / WORKERS / name)


def own_ids(folder: Path, name: str) -> set[str]:
    """The chains of which a worker that is gone has left whole rows in the round's folder.

    Those in a damaged shard are not among them; the next collection names it.
    """
    found: set[str] = set()
    for path, growing in _left_by(folder / WORKERS / name):
        with suppress(DamagedShardError):
            found.update([row.id for row in _rows(path, growing=growing)])
    return found


class Collected(NamedTuple):
    """What a collection came to."""

    rows: int
    """Rows that are the round's now and were not before."""
    duplicates: int
    """Rows that went, since the round had one of the same chain."""


def collect(folder: Path, address: str | None = None, closed: Collection[str] = ()) -> Collected:
    """Bring the workers' rows into a round's `pairs/` and `rejects/`, each id once.

    A kill at any instant loses nothing: the next collection goes on. Shards of workers that have closed them are moved
    as they are; those of others are copied row by row, since a worker that is only thought dead may still be writing.

    Args:
        folder: the round's.
        address: where workers put the objects of this round, if they do.
        closed: names of the workers that have closed their shards.

    Raises:
        StageError: a row cannot be written, or an object cannot be read.
        DamagedShardError: a shard holds something else than rows. All others are collected by then. An object like that
            is first brought here; when one is set aside, the next call names the next.
    """
    objects = list_objects(address) if address else []
    if not (folder / WORKERS).exists() and not objects:
        return Collected(0, 0)
    stores, counts = {kind: RowStore(folder / kind) for kind in KINDS}, Counter[str]()
    workers = sorted(path for path in (folder / WORKERS).glob("*") if path.is_dir())
    try:
        for worker in workers:
            if worker.name in closed:
                _adopt(worker, stores, counts)
        left = [shard for worker in workers for shard in _left_by(worker)]
        left += [(path, False) for path in sorted((folder / WORKERS).glob(f"{_OBJECT}*"))]
        fetched = (_fetched(place, folder / WORKERS) for place in objects)
        damaged = [error for shard in chain(left, fetched) if (error := _copy(*shard, stores, counts))]
    finally:
        for store in stores.values():
            store.close()
    for place in objects:
        remove_object(place)
    if damaged:
        raise damaged[0]
    shutil.rmtree(folder / WORKERS, ignore_errors=True)
    return Collected(counts["rows"], counts["duplicates"])


def _adopt(worker: Path, stores: dict[str, RowStore], counts: Counter[str]) -> None:
    """Move the shards in which every row is new; the others stay, to be copied."""
    for kind in KINDS:
        for shard in shards(worker / kind):
            with suppress(DamagedShardError):  # copying says so
                ids = list(shard_ids(shard))
                if len(set(ids)) == len(ids) and not any(id in store.ids for store in stores.values() for id in ids):
                    stores[kind].adopt(shard, ids)
                    counts["rows"] += len(ids)


def _left_by(worker: Path) -> Iterator[tuple[Path, bool]]:
    """The shards of a worker, each with whether its end may be torn."""
    for kind in KINDS:
        paths = shards(worker / kind)
        yield from ((path, path == paths[-1]) for path in paths)


def _fetched(place: str, folder: Path) -> tuple[Path, bool]:
    """An object as a file of this machine, which stays if it is damaged."""
    path = folder / f"{_OBJECT}{place.rpartition('/')[2]}"
    fetch_object(place, path)
    return path, False


def _copy(path: Path, growing: bool, stores: dict[str, RowStore], counts: Counter[str]) -> DamagedShardError | None:
    """Copy the rows that the round does not have; none of a shard that is damaged anywhere, which is returned."""
    try:
        for _ in _rows(path, growing=growing):
            pass
    except DamagedShardError as error:
        return error
    for row in _rows(path, growing=growing):
        new = not any(row.id in store.ids for store in stores.values())
        counts["rows" if new else "duplicates"] += 1
        if new:
            stores[_kind(row)].append(row)
    if path.name.startswith(_OBJECT):
        path.unlink()
    return None


def _rows(path: Path, *, growing: bool) -> Iterator[Pair | Reject]:
    for number, found in enumerate(shard_rows(path, growing=growing), 1):
        try:
            row = KINDS["rejects" if "reason" in found else "pairs"].model_validate(found)
        except (TypeError, ValidationError):
            raise DamagedShardError(path, f"row {number} has not the columns of one") from None
        yield row


def _kind(row: Pair | Reject) -> str:
    return "pairs" if isinstance(row, Pair) else "rejects"
