"""Trainings that are killed on their way, each in a fork of one process that has imported everything once.

Run as a script's body (tests/forked.py): `sys.argv` hold a folder, and as JSON the model, the rows, the settings and by
name the kills of each case, one after the other: `step:n` right after the log's line of optimizer step n, or a crash
point. Each case ends with one training that nobody kills.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.forked import forked
from tests.trainer.training import FAST, write_pairs
from trainer import pair_trainer, training_log
from trainer.config import TrainConfig
from trainer.dpo import TrainJob, train_dpo

assert pair_trainer, "imported once, before the forks"
RUN_THIS = "from tests.trainer.killed import run_cases; run_cases()"


def run_cases() -> None:
    """All cases, told on the command line."""
    folder, told = Path(sys.argv[1]), json.loads(sys.argv[2])
    pairs = write_pairs(folder / "rows.jsonl", told["rows"])
    for name, kills in told["cases"].items():
        changed = told.get("then", {}).get(name, {})
        for kill in kills:
            one_training(name, folder, pairs, told, kill, {})
        one_training(name, folder, pairs, told, "", changed)


def one_training(
    name: str, folder: Path, pairs: Path, told: dict[str, Any], kill: str, changed: dict[str, Any]
) -> None:
    job = TrainJob(
        model=told["model"],
        pairs=(pairs,),
        round_folder=folder / name / "round_00",
        config=TrainConfig.model_validate(FAST | told["settings"] | changed),
        stream=io.StringIO(),
    )
    job.round_folder.mkdir(parents=True, exist_ok=True)
    step = int(kill.partition(":")[2]) if kill.startswith("step:") else 0

    def work() -> None:
        if step:
            _kill_after(step)
        figures = train_dpo(job)
        (folder / f"{name}.json").write_text(json.dumps(figures))

    forked(name, "" if step else kill, work)


def _kill_after(step: int) -> None:
    write = training_log.TrainingLog.write

    def killing(log: Any, logs: Any, *, step: int, epoch: float, last: int = step) -> None:
        write(log, logs, step=step, epoch=epoch)
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    training_log.TrainingLog.write = killing  # type: ignore[method-assign]
