"""The log of one training: a line of training.jsonl for each optimizer step and each evaluation, as it happens.

A line holds `step`, `epoch` and TRL's figures under TRL's names; those of an evaluation on the validation pairs begin
with `eval_`. The same figures go to TensorBoard and, the loss, to the progress display.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from records.atomic import write_text_atomic
from records.errors import StageError
from records.progress import Progress

LOG = "training.jsonl"
FIGURES = (
    "loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
)
_STEP_FIGURES = (*FIGURES, "grad_norm", "learning_rate")


class TrainingLog:
    """The open log files of one training, and what was written to them so far.

    `begun_at` is the optimizer step that the training goes on from: the lines up to there stay, those of steps that
    will be done again go.
    """

    def __init__(self, path: Path, tensorboard: Path, display: Progress, begun_at: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.steps: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, Any]] = []
        self.alarms: list[dict[str, str]] = []
        self._display = display
        self._board = SummaryWriter(log_dir=str(tensorboard))
        kept = lines_up_to(path, begun_at) if begun_at else []
        if kept:
            write_text_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file: IO[str] = open(path, "a" if kept else "w", encoding="utf-8")  # noqa: SIM115
        for line in kept:
            self._note(line, "eval_" if "eval_loss" in line else "")

    def write(self, logs: dict[str, float], *, step: int, epoch: float) -> None:
        """Keep one line; what has no loss (the closing line of run times) is passed over.

        Raises:
            StageError: a figure is not a number: the training has broken.
        """
        prefix = "eval_" if "eval_loss" in logs else ""
        if f"{prefix}loss" not in logs:
            return
        names = [prefix + name for name in FIGURES] if prefix else _STEP_FIGURES
        figures = {name: float(logs[name]) for name in names}
        _check_finite(figures, step)
        line = {"step": step, "epoch": epoch, **figures}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._note(line, prefix)

    def sync(self) -> None:
        """Hand the lines to the disk, so that a checkpoint never knows of a step that the log does not."""
        os.fsync(self._file.fileno())

    def _note(self, line: dict[str, Any], prefix: str) -> None:
        """Keep a line, and show it on TensorBoard and in the display."""
        folder = "eval" if prefix else "train"
        for name, value in line.items():
            if name not in ("step", "epoch"):
                self._board.add_scalar(f"{folder}/{name.removeprefix(prefix)}", value, line["step"])
        (self.evaluations if prefix else self.steps).append(line)
        if not prefix:
            self._display.advance(loss=line["loss"], accuracy=line["rewards/accuracies"])

    def raise_alarms(self, alarms: Sequence[dict[str, str]]) -> None:
        """Keep what `trainer.alarms` found; a person who watches sees it at once, and the process's log holds it."""
        self.alarms += alarms
        for alarm in alarms:
            logging.getLogger(__name__).warning("%s: %s", alarm["name"], alarm["message"])
            self._display.note(f"alarm: {alarm['message']}")

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._board.close()


def lines_up_to(path: Path, step: int) -> list[dict[str, Any]]:
    """A log's lines of all optimizer steps up to this one, and of the evaluation before the first.

    The evaluation after the last step is made again, whatever the step. None at all where a step's line is not there.
    """
    lines = []
    with suppress(FileNotFoundError):
        for text in path.read_text(encoding="utf-8").splitlines():
            # A kill tears the last line, which is of a later step than any checkpoint's.
            with suppress(ValueError):
                lines.append(json.loads(text))
    kept = [line for line in lines if line["step"] <= (0 if "eval_loss" in line else step)]
    steps = [line["step"] for line in kept if "loss" in line]
    return kept if steps == list(range(1, step + 1)) else []


def _check_finite(figures: dict[str, float], step: int) -> None:
    bad = [name for name, value in figures.items() if not math.isfinite(value)]
    if bad:
        raise StageError(
            f"optimizer step {step}: {', '.join(bad)} is not a finite number; nothing was saved. "
            "Lower train.learning_rate or set train.dtype to float32, then run the same command again."
        )
