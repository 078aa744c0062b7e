"""The run folder: where each thing lies, who may write, and the marks that say what is done.

A done-marker is written last and holds the inputs that its stage was made from. The same inputs: the stage is skipped.
Others: an error that names what changed. A started-marker holds the same while the stage is under way, so what a
stage that was cut short has made is not gone on with under other settings either.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records.atomic import crash_point, write_json_atomic
from records.digest import digest_json
from records.errors import StageError, StaleStageError
from records.store import shards

STAGES = ("evaluate", "generate", "reward", "train")
_OUTPUTS = {
    "evaluate": ("evaluation.json", "drafts"),
    "generate": ("pairs", "rejects", "workers"),
    "reward": ("reward_model", "reward_folds", "reward_training.jsonl", "rewards", "reward_left_out.json"),
    "train": ("adapter", "training.jsonl", "probe.json", "left_out.json", "reference.json", "checkpoint"),
}
# What shows work that was begun, though it holds no shards.
_ALONE = ("adapter", "workers", "reward_model", "reward_folds")
WARM_UP = -1


@dataclass(frozen=True)
class RunFolder:
    """A folder under `outputs/` and the names of what is in it."""

    path: Path

    def round(self, index: int) -> Path:
        """The folder of a round; `WARM_UP` is the one before the first."""
        return self.path / ("warm_up" if index == WARM_UP else f"round_{index:02d}")

    def marker(self, stage: str, index: int) -> Path:
        """The done-marker of a stage."""
        return self.round(index) / f"{stage}.done.json"

    def done(self, stage: str, index: int) -> dict[str, Any] | None:
        """What a finished stage wrote into its marker, or None."""
        return _read_json(self.marker(stage, index))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock goes with the process, however it ends.

        Raises:
            StageError: another process works in the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise StageError(
                    f"{self.path} is in use by process {file.read().strip() or 'unknown'}; expected no other run in "
                    "it. Wait for that one, stop it, or choose another name with --run."
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def begin_stage(folder: RunFolder, stage: str, index: int, inputs: dict[str, Any]) -> bool:
    """Whether there is work to do; notes the inputs before it begins.

    Raises:
        StaleStageError: the stage was done, or rows of it were made, from other inputs.
    """
    done = folder.done(stage, index)
    started_path = _started(folder, stage, index)
    # Begun and without anything to show, it begins anew: settings that could not work can be mended.
    started = _read_json(started_path)
    earlier = done or (started if _has_output(folder, stage, index) else None)
    if earlier is not None and earlier["digest"] != digest_json(inputs):
        raise StaleStageError(_stale(folder, stage, index, earlier["inputs"], inputs))
    if done is not None:  # a kill right after the done-marker left what goes with it
        _remove_means(folder, stage, index)
    if done is None and earlier is None and (started is None or started["digest"] != digest_json(inputs)):
        key = secrets.token_hex(8)
        write_json_atomic(started_path, {"digest": digest_json(inputs), "inputs": inputs, "key": key})
    return done is None


def stage_key(folder: RunFolder, stage: str, index: int) -> str:
    """What tells this making of a stage from others, of this run's folder or of any other."""
    marker = _read_json(_started(folder, stage, index)) or folder.done(stage, index) or {}
    return str(marker.get("key", ""))


def end_stage(
    folder: RunFolder, stage: str, index: int, inputs: dict[str, Any], *, outputs: dict[str, Any], seconds: float
) -> None:
    """Write the done-marker, last of all."""
    marker = {"digest": digest_json(inputs), "inputs": inputs, "outputs": outputs, "seconds": round(seconds, 2)}
    marker["key"] = stage_key(folder, stage, index)
    crash_point("marker-before")
    write_json_atomic(folder.marker(stage, index), marker)
    crash_point("marker-after")
    _remove_means(folder, stage, index)


def _remove_means(folder: RunFolder, stage: str, index: int) -> None:
    """Take out what a stage needs only while it is under way: its started-marker, and a training's checkpoint."""
    if stage == "train":
        shutil.rmtree(folder.round(index) / "checkpoint", ignore_errors=True)
    _started(folder, stage, index).unlink(missing_ok=True)


def take_back(folder: RunFolder, stage: str, index: int) -> None:
    """Have a finished stage count as begun, so that the next start of it goes on from the rows that are there."""
    with suppress(FileNotFoundError):
        os.replace(folder.marker(stage, index), _started(folder, stage, index))


def redo(folder: RunFolder, stage: str, index: int) -> list[Path]:
    """Take out what a stage and all stages after it wrote, the latest first; returns what was taken out."""
    removed = []
    for number in reversed([WARM_UP, *sorted(round_index(path) for path in folder.path.glob("round_[0-9]*"))]):
        for name in reversed(STAGES):
            if number > index or (number == index and STAGES.index(name) >= STAGES.index(stage)):
                removed += _take_out(folder, name, number)
    return removed


def _started(folder: RunFolder, stage: str, index: int) -> Path:
    return folder.round(index) / f"{stage}.started.json"


def _has_output(folder: RunFolder, stage: str, index: int) -> bool:
    """Whether a stage that was cut short left rows, weights, or a checkpoint of them."""
    places = [folder.round(index) / name for name in _OUTPUTS[stage]]
    whole = any(shards(place) or (place.name in _ALONE and place.exists()) for place in places)
    return whole or (stage == "train" and any((folder.round(index) / "checkpoint").glob("step-*")))


def _take_out(folder: RunFolder, stage: str, index: int) -> list[Path]:
    """Remove a stage. Until all is gone its started-marker stands, so a half-removed stage is never gone on with."""
    started = _started(folder, stage, index)
    take_back(folder, stage, index)
    written = [folder.round(index) / name for name in _OUTPUTS[stage]]
    removed = [path for path in (*written, started) if path.exists()]
    for path in removed:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return removed


def round_index(folder: Path) -> int:
    """The number in a round folder's name."""
    return int(folder.name.removeprefix("round_"))


def _stale(folder: RunFolder, stage: str, index: int, before: dict[str, Any], now: dict[str, Any]) -> str:
    changes = [f"  {key}: was {_short(old)}, now {_short(new)}" for key, old, new in _differences(before, now)]
    name = "warm_up" if index == WARM_UP else index
    return "\n".join(
        [
            f"{folder.round(index)}: stage {stage} was made from other inputs:",
            *changes,
            f"Keep it: give the old settings again. Do it anew, with all after it: --redo {stage}@{name}. "
            "Or take a new name: --run NAME.",
        ]
    )


def _differences(before: Any, now: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(before.get(key), now.get(key), f"{place}.{key}" if place else key)
    elif before != now:
        yield place, before, now


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StageError(f"{path}: not JSON ({error}); expected a marker of this project. Put it back.") from None
