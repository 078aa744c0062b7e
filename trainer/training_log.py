"""The log of one training: a line of training.jsonl for each optimizer step and each evaluation, as it happens.

A line holds `step`, `epoch` and TRL's figures under TRL's names; those of an evaluation on the validation pairs begin
with `eval_`. The same figures go to TensorBoard and, the loss, to the progress display.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from records.errors import StageError
from records.progress import Progress

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
    """The open log files of one training, and what was written to them so far."""

    def __init__(self, path: Path, tensorboard: Path, display: Progress) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.steps: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, Any]] = []
        self.alarms: list[dict[str, str]] = []
        self._display = display
        self._board = SummaryWriter(log_dir=str(tensorboard))
        self._file: IO[str] = open(path, "w", encoding="utf-8")  # noqa: SIM115

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
        folder = "eval" if prefix else "train"
        for name, value in figures.items():
            self._board.add_scalar(f"{folder}/{name.removeprefix(prefix)}", value, step)
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


def _check_finite(figures: dict[str, float], step: int) -> None:
    bad = [name for name, value in figures.items() if not math.isfinite(value)]
    if bad:
        raise StageError(
            f"optimizer step {step}: {', '.join(bad)} is not a finite number; nothing was saved. "
            "Lower train.learning_rate or set train.dtype to float32, then run the same command again."
        )
