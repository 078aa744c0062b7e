"""The ids of a full shard of lines, in a file beside it, so that a resumed stage need not read the rows for them.

It is a help and no truth: it is believed while the shard has the size and the time of its last change that it had then,
and while its own digest holds. Otherwise, or where it is not there, the shard is read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from records.digest import digest_json


def _place(shard: Path) -> Path:
    return shard.with_name(f".{shard.stem}.ids")


def _state(shard: Path) -> list[int]:
    found = shard.stat()
    return [found.st_size, found.st_mtime_ns]


def write_ids(shard: Path, ids: Sequence[str]) -> None:
    """Note the ids of a shard that is closed; where the file system refuses, nothing is noted."""
    noted = {"shard": _state(shard), "digest": digest_json([*ids]), "ids": [*ids]}
    with suppress(OSError):
        _place(shard).write_text(json.dumps(noted), encoding="utf-8")


def known_ids(shard: Path) -> list[str] | None:
    """The ids of a shard that is as it was when they were noted; None where that cannot be told."""
    try:
        noted = json.loads(_place(shard).read_text(encoding="utf-8"))
        if noted["shard"] == _state(shard) and noted["digest"] == digest_json(noted["ids"]):
            return [*noted["ids"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass
    return None


def forget_ids(shard: Path) -> None:
    """Take the note away, before its shard goes."""
    _place(shard).unlink(missing_ok=True)
