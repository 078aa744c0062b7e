"""Files for elsewhere: copied to any address that fsspec knows (s3://, gs://, file://), each held against its digest.

Object stores rename nothing, so a folder is there when its card is: cards go last. Credentials come from where the
store's own library looks for them (the environment, its files), never from an address.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from records.atomic import write_json_atomic
from records.digest import digest_file
from records.errors import ConfigError, ConstituteError, StageError
from records.shard import shards

_PUBLISHED = "published.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Place:
    """A folder at an address."""

    address: str
    system: Any
    root: str

    def path(self, name: str) -> str:
        """A file's path as its file system names it."""
        return f"{self.root.rstrip('/')}/{name}"


def is_address(text: str) -> bool:
    """Whether a text names a place for fsspec rather than a path."""
    return "://" in text


def open_place(address: str) -> Place:
    """The folder at an address; nothing is asked of it yet.

    Raises:
        ConfigError: no file system for it is installed, or it holds a password.
    """
    expected = "expected an address such as s3://bucket/folder"
    try:
        parts = urlsplit(address)
        if parts.username or parts.password:
            shown = address.replace(parts.netloc, parts.netloc.rpartition("@")[2])
            raise ConfigError(
                f"{shown}: found a user or a password in the address; {expected}. Give credentials in the environment."
            )
        from fsspec.core import url_to_fs

        system, root = url_to_fs(address)
    except (ImportError, ValueError) as error:
        words = str(error).strip().splitlines()[0]
        raise ConfigError(f"{address}: no file system to reach it ({words}); {expected}.") from None
    return Place(address.rstrip("/"), system, root)


def try_place(address: str) -> None:
    """Write a small file there and take it away again: what cannot be written is told before the work, not after.

    Raises:
        ConfigError: see `open_place`.
        StageError: the place takes no file.
    """
    place = open_place(address)
    path = place.path(".constitute-was-here")
    with _told(place, "Nothing was run. Mend the address or its credentials, then run the same command again."):
        place.system.makedirs(place.root, exist_ok=True)
        place.system.pipe_file(path, b"")
        place.system.rm_file(path)


def require_new(place: Place) -> None:
    """Look whether anything is there already.

    Raises:
        ConfigError: something is.
        StageError: the place cannot be looked at.
    """
    with _told(place, "Nothing was written. Mend the address or its credentials."):
        found = place.system.find(place.root)
    if found:
        raise ConfigError(f"{place.address}: is there already ({len(found)} files); expected a new name.")


def send_folder(folder: Path, place: Place) -> None:
    """Copy a finished folder to a new place, its card last.

    Raises:
        StageError: the place refuses, or holds something else afterwards.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with _told(place, "Take away what is there of it, then run the same command again."):
        for name in sorted(names, key=lambda name: (name.endswith(".md"), name)):
            _send(folder / name, place, name)


def is_published(folder: Path, address: str) -> bool:
    """Whether every shard of a finished round was copied to this address; digests are compared as they are copied."""
    known = _known(folder, open_place(address))
    return all(f"{name}/{path.name}" in known for name in ("pairs", "rejects") for path in shards(folder / name))


def publish_round(folder: Path, address: str) -> int:
    """Copy the shards and cards of a finished round; those that are there already stay.

    What was copied by an earlier call and is here no more (a shard that was set aside) is taken away there.

    Args:
        folder: the round's folder; `published.json` in it notes what is there.
        address: the folder that stands for it.

    Returns:
        Files copied by this call.

    Raises:
        StageError: the place refuses, or holds something else afterwards; the round is whole here.
    """
    place = open_place(address)
    found = [path for name in ("pairs", "rejects") for path in shards(folder / name)]
    cards = [folder / name / "README.md" for name in ("pairs", "rejects")]
    names = {path.relative_to(folder).as_posix(): digest_file(path) for path in [*found, *cards] if path.exists()}
    known = _known(folder, place)
    copied = 0
    with _told(place, f"All rows are whole in {folder}. Run the same command again: it goes on from there."):
        for name, digest in names.items():
            if known.get(name) == digest and _size(place, name) == (folder / name).stat().st_size:
                continue
            _send(folder / name, place, name)
            known[name] = digest
            copied += 1
            _note(folder, place, known)
        for name in [name for name in known if name not in names]:
            if place.system.exists(place.path(name)):
                place.system.rm_file(place.path(name))
            del known[name]
            _note(folder, place, known)
    return copied


def _known(folder: Path, place: Place) -> dict[str, str]:
    try:
        noted = json.loads((folder / _PUBLISHED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # what is not known to be there is copied again
        return {}
    return dict(noted["files"]) if noted["address"] == place.address else {}


def _note(folder: Path, place: Place, known: dict[str, str]) -> None:
    write_json_atomic(folder / _PUBLISHED, {"address": place.address, "files": known})


def _send(source: Path, place: Place, name: str) -> None:
    path = place.path(name)
    place.system.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
    with open(source, "rb") as ours, place.system.open(path, "wb") as theirs:
        shutil.copyfileobj(ours, theirs, _CHUNK)
    size, digest = _size(place, name), _digest(place, name)
    if size != source.stat().st_size or digest != digest_file(source):
        raise StageError(
            f"{place.address}/{name}: holds {size} bytes of digest {digest[:12]} after it was copied; expected "
            f"{source.stat().st_size} of digest {digest_file(source)[:12]}, as {source}. Run the same command again."
        )


def _size(place: Place, name: str) -> int | None:
    place.system.invalidate_cache()
    try:
        return place.system.size(place.path(name))
    except FileNotFoundError:
        return None


def _digest(place: Place, name: str) -> str:
    found = sha256()
    with place.system.open(place.path(name), "rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


@contextmanager
def _told(place: Place, way_out: str) -> Iterator[None]:
    """What a file system refuses, in words. The libraries behind fsspec have no error in common."""
    try:
        yield
    except ConstituteError:
        raise
    except Exception as error:
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StageError(f"{place.address}: the place could not be used ({words}). {way_out}") from error
