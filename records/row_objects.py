"""Rows as whole objects behind an fsspec URL (s3://, gs://, file://), never changed, removed once collected."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from records.errors import StageError
from records.store import row_line

OBJECT_BYTES = 16 << 20
OBJECT_SECONDS = 30.0


class ObjectRows:
    """Whole objects behind an fsspec URL, none of which is ever changed; a row is safe when its object is.

    One thread appends while another settles.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name, self._objects = url.rstrip("/"), name, 0
        self._waiting: list[tuple[str, bytes]] = []
        self._bytes, self._written = 0, time.monotonic()
        self._lock = threading.Lock()

    def append(self, row: BaseModel) -> None:
        """See `records.worker_rows.WorkerRows`; keeps the row until its object is written."""
        line = row_line(row)
        with self._lock:
            self._waiting.append((row.id, line))  # type: ignore[attr-defined]
            self._bytes += len(line)

    def settle(self, *, all: bool) -> list[str]:
        """See `records.worker_rows.WorkerRows`.

        One object for 16 MiB of rows, or 30 s: stores bill requests, and limit them.
        """
        with self._lock:
            due = all or self._bytes >= OBJECT_BYTES or time.monotonic() - self._written >= OBJECT_SECONDS
            if not due or not self._waiting:
                return []
            rows, self._waiting, self._bytes, self._written = self._waiting, [], 0, time.monotonic()
        place = f"{self._url}/{self._name}-{self._objects:05d}.jsonl"
        self._objects += 1
        with told(place, "written", "its rows are made again"):
            files, path = filesystem(place)
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.pipe_file(path, b"".join(line for _, line in rows))
        return [id for id, _ in rows]

    def close(self) -> None:
        """See `records.worker_rows.WorkerRows`."""
        self.settle(all=True)


def list_objects(place: str) -> list[str]:
    """The objects of a round, as URLs, by name.

    Raises:
        StageError: the place cannot be reached.
    """
    with told(place, "listed", "rows of this run may be there"):
        files, path = filesystem(place)
        files.invalidate_cache()
        names = files.ls(path, detail=False) if files.exists(path) else []
    return [files.unstrip_protocol(name) for name in sorted(names) if name.endswith(".jsonl")]


def fetch_object(place: str, path: Path) -> None:
    """Bring an object to a file of this machine, whole or not at all.

    Raises:
        StageError: the object cannot be read.
    """
    with told(place, "read", "it holds rows of this run"):
        files, source = filesystem(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.tmp")
        partial.write_bytes(files.cat_file(source))
        os.replace(partial, path)


def remove_object(place: str) -> None:
    """Away with an object whose rows are here.

    Raises:
        StageError: it cannot be removed.
    """
    with told(place, "removed", "its rows are safe in the run folder"):
        files, path = filesystem(place)
        files.rm_file(path)


def filesystem(place: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it."""
    from fsspec.core import url_to_fs

    found: tuple[Any, str] = url_to_fs(place)
    return found


@contextmanager
def told(place: str, what: str, safe: str) -> Iterator[None]:
    """Whatever a storage library raises, as an error that names the place.

    Raises:
        StageError: something was raised within.
    """
    try:
        yield
    except Exception as error:  # each kind of storage has errors of its own
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise StageError(
            f"{place}: could not be {what} ({words[0]}); {safe}. Mend scale.rows, its credentials or the network, then "
            "run the same command again: it goes on from here."
        ) from error
