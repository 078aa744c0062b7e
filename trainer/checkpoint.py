"""A training's state on its way, on disk whole or not at all, so that a killed training goes on where it was.

`checkpoint/step-00000040/` holds `tensors.safetensors` (what is trained, the optimizer's moments, the states of the
random generators), `state.json` (all that is no tensor, and the digest of what the training was made from) and
`trainer_state.json` (transformers' own record of where it is). No file is a pickle. Only the last one is kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records.atomic import crash_point, sync_folder
from records.digest import digest_json
from trainer.config import TrainConfig
from trainer.data import PairSet

FOLDER = "checkpoint"
_TENSORS, _STATE, TRAINER_STATE = "tensors.safetensors", "state.json", "trainer_state.json"
_STEP = "step-"


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stood after an optimizer step."""

    step: int
    tensors: dict[str, Any]
    state: dict[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint, trainer_state: Mapping[str, Any]) -> None:
    """Put a checkpoint beside the one before it, and then take that one out.

    Args:
        folder: `checkpoint/` of a round.
        checkpoint: tensors on the CPU, none of them sharing memory; a state that JSON holds exactly.
        trainer_state: transformers' record.

    Raises:
        OSError: the file system refuses; the checkpoint before is still there.
    """
    from safetensors.torch import save_file

    aside = folder / ".writing"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_file(checkpoint.tensors, aside / _TENSORS)
    crash_point("checkpoint-torn")
    state = {"step": checkpoint.step, **checkpoint.state}
    for name, value in ((_STATE, state), (TRAINER_STATE, trainer_state)):
        (aside / name).write_text(json.dumps(value), encoding="utf-8")
    for path in aside.iterdir():
        _sync(path)
    crash_point("checkpoint-before-rename")
    place = place_of(folder, checkpoint.step)
    shutil.rmtree(place, ignore_errors=True)
    os.replace(aside, place)
    sync_folder(folder)
    crash_point("checkpoint-after-rename")
    for older in _steps(folder):
        if older != place:
            shutil.rmtree(older)


def find_checkpoint(folder: Path, made_from: str) -> Checkpoint | None:
    """The last checkpoint of this very training; what lies there of another one, or cannot be read, is taken out.

    Args:
        folder: `checkpoint/` of a round, which need not be there.
        made_from: digest of what the training is made from (`training_digest`).
    """
    places = _steps(folder)
    if not places:
        return None
    try:
        found = _read(places[-1])
    except Exception as error:  # the library that reads tensors has errors of its own
        remove_checkpoints(folder, f"it cannot be read ({error})")
        return None
    if found.state.get("made_from") != made_from:
        remove_checkpoints(folder, "it is of a training from other inputs")
        return None
    return found


def remove_checkpoints(folder: Path, why: str) -> None:
    """Take out what lies there; the process's log says why."""
    logging.getLogger(__name__).warning("%s: the checkpoint is taken out: %s.", folder, why)
    shutil.rmtree(folder, ignore_errors=True)


def place_of(folder: Path, step: int) -> Path:
    """Where the checkpoint after an optimizer step lies."""
    return folder / f"{_STEP}{step:08d}"


def _read(place: Path) -> Checkpoint:
    from safetensors.torch import load_file

    state = json.loads((place / _STATE).read_text(encoding="utf-8"))
    json.loads((place / TRAINER_STATE).read_text(encoding="utf-8"))
    return Checkpoint(state.pop("step"), load_file(place / _TENSORS), state)


def training_digest(config: TrainConfig, seed: int, policies: Sequence[str], pairs: PairSet) -> str:
    """Digest of what a training is made from: settings, seed, and its policies and pairs by content.

    Args:
        config: how often checkpoints are written makes no difference.
        seed: of the job.
        policies: digests of the base, of what it starts from, and of its reference.
        pairs: what is trained on and what is evaluated on, in order, token by token.
    """
    digest = hashlib.sha256()
    for pair in (*pairs.train, None, *pairs.validation):
        if pair is None:
            digest.update(b"validation")
            continue
        lengths = [len(pair.prompt_ids), len(pair.chosen_ids), len(pair.rejected_ids)]
        digest.update(json.dumps([pair.id, pair.probability, *lengths]).encode())
        digest.update(array("q", [*pair.prompt_ids, *pair.chosen_ids, *pair.rejected_ids]).tobytes())
    settings = config.model_dump(mode="json", exclude={"checkpoint_every", "checkpoint_minutes"})
    return digest_json([settings, seed, list(policies), digest.hexdigest()])


def _steps(folder: Path) -> list[Path]:
    """The checkpoints that are whole, the last one last."""
    return sorted(folder.glob(f"{_STEP}*"))


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
