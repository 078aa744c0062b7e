"""Files that are there whole or not at all, and the points at which a test may kill the process."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from records.errors import StageError

# Every boundary between two states of the disk. `CONSTITUTE_CRASH_AT=<point>` kills the process there, as kill -9
# would; `<point>:<n>` at its n-th passing. A test lists them, crashes at each, and runs the same command again.
CRASH_POINTS = (
    "row-before",  # nothing of the row is written
    "row-torn",  # half of the row is written
    "row-after",  # the row is written
    "shard-roll",  # the full shard is closed, the next one not yet begun
    "shard-set-aside",  # a damaged shard lies in damaged/, none of its rows is made anew yet
    "compact-begun",  # which pairs become rejects is on disk, none has
    "parquet-torn",  # half of a Parquet shard is written aside
    "parquet-before-rename",  # it is whole, and not in its place yet
    "parquet-after-rename",  # it is in its place, the JSON lines that it replaces are there too
    "lines-removed",  # the JSON lines of one compacted shard are gone, those of the next one are not
    "compact-ended",  # all is Parquet, and what was decided is not on disk any more
    "file-before-rename",  # the temporary file is whole, the real one absent or old
    "file-after-rename",
    "adapter-before-rename",  # the adapter's temporary folder is whole
    "adapter-after-rename",
    "checkpoint-torn",  # of a training's checkpoint, half is written aside
    "checkpoint-before-rename",  # it is whole, and not in its place yet
    "checkpoint-after-rename",  # it is in its place, the one before it is there too
    "marker-before",  # all output of a stage is there, its done-marker is not
    "marker-after",
)
_MOVING = "moving.json"
_passed: dict[str, int] = {}


def crash_point(name: str) -> None:
    """Die here, as by kill -9, when the environment asks for it."""
    wanted, _, nth = os.environ.get("CONSTITUTE_CRASH_AT", "").partition(":")
    assert name in CRASH_POINTS, name
    if wanted != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == int(nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)


def sync_folder(folder: Path) -> None:
    """Hand a folder's names to the disk: what was renamed in it stays so after a loss of power."""
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def write_text_atomic(path: Path, text: str) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    Raises:
        StageError: the file system refuses (a full disk, no permission); the old content is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # What UTF-8 cannot hold (a byte of a folder's name, say) stands there as its escape, which JSON knows too.
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        crash_point("file-before-rename")
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StageError(
            f"{path}: the file could not be written ({error.strerror or error}); nothing of it was changed. "
            "Make room or mend the folder, then run the same command again."
        ) from error
    crash_point("file-after-rename")


def write_json_atomic(path: Path, value: Any) -> None:
    """Write JSON, indented, whole or not at all. NaN and infinities are refused, since JSON has none."""
    write_text_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def built_aside(output: Path, files: Mapping[str, Path] | None = None) -> Iterator[Path]:
    """A folder beside `output` to build in; it takes that place when the block ends well, and goes when it does not.

    What a killed process left of an earlier attempt is cleared first.

    Args:
        output: where the folder goes; nothing is there.
        files: instead of the folder as a whole, files in it by name, with the place of each, in the order in which they
            go there. What a process that was killed between two of them left in its place is replaced.

    Raises:
        StageError: another process builds there, or something took the place meanwhile.
    """
    aside = _aside(output)
    aside.mkdir(parents=True, exist_ok=True)
    held = os.open(aside, os.O_RDONLY)
    try:
        _hold(held, aside)
        orphans = orphaned(output)
        _empty(aside)
        try:
            yield aside
            places = [output] if files is None else [*files.values()]
            _refuse_taken([place for place in places if str(place.absolute()) not in orphans])
            if files is None:
                os.rename(aside, output)
            else:
                _take_places(aside, files)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    finally:
        os.close(held)


def orphaned(output: Path) -> set[str]:
    """The places of files that a process killed while it moved them left without the others, untouched since."""
    try:
        moved = json.loads((_aside(output) / _MOVING).read_bytes())
        return {place for place, known in moved.items() if os.path.isfile(place) and _identity(place) == known}
    except (OSError, ValueError, AttributeError):
        return set()


def _aside(output: Path) -> Path:
    return output.with_name(f".{output.name}.partial")


def _take_places(aside: Path, files: Mapping[str, Path]) -> None:
    write_json_atomic(
        aside / _MOVING, {str(place.absolute()): _identity(aside / name) for name, place in files.items()}
    )
    for name, place in files.items():
        os.replace(aside / name, place)


def _identity(path: Path | str) -> list[int]:
    """What a file keeps when it is moved and loses when it is written to."""
    found = os.stat(path)
    return [found.st_ino, found.st_mtime_ns, found.st_size]


def _hold(folder: int, path: Path) -> None:
    """Lock an open folder for this process; the lock goes with the process, however it ends."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        same = path.exists() and os.path.samestat(os.fstat(folder), path.stat())
    except OSError:
        same = False
    # Another process may have held it until now, and moved it to its place or taken it out.
    if not same:
        raise StageError(
            f"{path}: another process writes there; expected to be the only one. Wait for it, or name another output."
        )


def _refuse_taken(places: list[Path]) -> None:
    taken = [str(place) for place in places if os.path.lexists(place)]
    if taken:
        raise StageError(f"{', '.join(taken)}: something came there meanwhile; expected nothing. Name another output.")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
