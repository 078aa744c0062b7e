"""The loop: evaluate and draft, train, and again with the policy just trained. Each stage is a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from loop.folder import STAGES, WARM_UP, RunFolder, begin_stage, take_back
from loop.inputs import Run, evaluate_inputs, generate_inputs, own_pairs, pair_folders, train_inputs
from loop.orphans import PARENT
from loop.provenance import write_provenance
from loop.stopping import INTERRUPTED, TERMINATED, Terminated
from records.atomic import write_json_atomic, write_text_atomic
from records.errors import ConfigError, StageError, StageFailed, StaleStageError
from records.shard import DamagedShardError, check_shards
from trainer.preferences import read_preferences

_INPUTS = {"evaluate": evaluate_inputs, "generate": generate_inputs, "train": train_inputs}
# Schedulers kill what has not ended after ten seconds or more; the command has to say its last line before that.
_SECONDS_TO_STOP = 8.0
STAGE_COMMAND = (sys.executable, "-m", "loop.stage")


def prepare(run: Run) -> None:
    """Compare with what is there, then write what a run is repeated from: config, constitution and provenance.

    A finished round that is not trained on and has a damaged shard is finished no more, and will be gone on with.

    Raises:
        StaleStageError: a stage was made, or begun, from other inputs; nothing was written.
        DataError: own pairs (`train.pairs_from`) that cannot be trained on, all problems at once.
    """
    _refuse_stale(run)
    _take_back_damaged(run)
    read_preferences(own_pairs(run, 0))
    folder = run.folder
    write_json_atomic(folder.path / "config.json", run.config.model_dump(mode="json"))
    copy = yaml.safe_dump(run.constitution.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    write_text_atomic(folder.path / "constitution.yaml", copy)
    write_left_out_prompts(run)
    write_provenance(run)


def write_left_out_prompts(run: Run) -> None:
    """Name every prompt that is not in the run because another one says the same, in `left_out_prompts.json`."""
    path = run.folder.path / "left_out_prompts.json"
    if run.prompts.left_out:
        write_json_atomic(path, [one._asdict() for one in run.prompts.left_out])
    else:
        path.unlink(missing_ok=True)


def _refuse_stale(run: Run) -> None:
    """Compare every stage that was begun with the inputs it would have now, before anything is overwritten."""
    for index in range(-1, run.config.rounds + 1):
        for stage in STAGES:
            if _begun(run, stage, index):
                _compare(run, stage, index)


def _compare(run: Run, stage: str, index: int) -> None:
    try:
        begin_stage(run.folder, stage, index, _INPUTS[stage](run, index))
    except StaleStageError:
        # Pairs that were damaged after the training on them are other pairs, too; then that is what to say.
        for folder in pair_folders(run, index) if stage == "train" else ():
            check_shards(folder)
        raise


def _take_back_damaged(run: Run) -> None:
    """Read the shards of the rounds whose pairs are still to be trained on, or of which only pairs are wanted."""
    for index in range(WARM_UP, run.config.rounds):
        folder = run.folder.round(index)
        if run.folder.done("generate", index) is None or (folder / "adapter").exists():
            continue
        try:
            check_shards(folder / "pairs")
            check_shards(folder / "rejects")
        except DamagedShardError as error:
            # The stage finds it as well, sets it aside and says so.
            sys.stderr.write(f"{error.path}: {error.found}; stage generate of this round goes on.\n")
            take_back(run.folder, "generate", index)


def run_rounds(run: Run) -> str:
    """Do what is not yet done of all rounds.

    Returns:
        `complete` or `too_few_pairs`.

    Raises:
        StageFailed: a stage ended with an error, which it has shown.
        KeyboardInterrupt, Terminated: it was asked to stop; finished rows are on disk.
    """
    if run.config.train.warm_up != "none":
        run_stages(run, WARM_UP, ("generate",))
        if train_pairs(run, WARM_UP) < run.config.min_pairs:
            return "too_few_pairs"
        run_stages(run, WARM_UP, ("train",))
    for index in range(run.config.rounds):
        run_stages(run, index, ("evaluate", "generate"))
        if train_pairs(run, index) < run.config.min_pairs:
            return "too_few_pairs"
        run_stages(run, index, ("train",))
    run_stages(run, run.config.rounds, ("evaluate",))
    return "complete"


def train_pairs(run: Run, index: int) -> int:
    """Pairs of a finished generate stage that training may use."""
    marker: dict[str, Any] = run.folder.done("generate", index) or {"outputs": {"train_pairs": 0}}
    return int(marker["outputs"]["train_pairs"])


def run_stages(run: Run, index: int, stages: Sequence[str]) -> None:
    """Run the stages of one round that are not done, in one process.

    Raises:
        ConfigError: the stage before is not done.
        StageFailed: the process ended with another status than 0.
        StageError: it was killed.
    """
    _require_the_stage_before(run, index, stages[0])
    todo = [stage for stage in stages if begin_stage(run.folder, stage, index, _INPUTS[stage](run, index))]
    if todo:
        run_process(run.folder, index, todo)


def run_process(folder: RunFolder, index: int, stages: Sequence[str]) -> None:
    """Run stages in a process of their own, to its end; raises as `run_stages` does."""
    command = [*STAGE_COMMAND, str(folder.path), str(index), *stages]
    # A session of its own: Ctrl-C reaches this process alone, which then lets the stage finish its writing.
    environment = {**os.environ, PARENT: str(os.getpid())}
    child = subprocess.Popen(command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL)
    status = _wait(child)
    if status < 0:
        log = folder.path / "logs" / f"{'_'.join(stages)}_{index:02d}.log"
        raise StageError(
            f"stage {' and '.join(stages)} of round {index} was killed ({signal.Signals(-status).name}); "
            f"expected it to end by itself. {log} has its last words (no memory left?). "
            "Finished rows are safe: run the same command again and it goes on from there."
        )
    if status in (INTERRUPTED, TERMINATED):  # somebody stopped the stage and not this process
        raise KeyboardInterrupt if status == INTERRUPTED else Terminated
    if status:
        raise StageFailed(status)


def _require_the_stage_before(run: Run, index: int, stage: str) -> None:
    first = WARM_UP if run.config.train.warm_up != "none" else 0
    before = ("generate", index) if stage == "train" else ("train", index - 1)
    if stage == "train" and index == 0 and run.config.train.pairs_from and not _begun(run, "generate", 0):
        return
    if before[1] >= first and run.folder.done(*before) is None:
        name, number = before
        verb = f"`constitute {name} CONFIG --round {number}` first, or " if number != WARM_UP else ""
        raise ConfigError(
            f"{run.folder.round(number)}: stage {name} is not done, and {stage} of round {index} goes on from it. "
            f"Run {verb}`constitute run CONFIG`, which does all in turn."
        )


def _begun(run: Run, stage: str, index: int) -> bool:
    return any((run.folder.round(index) / f"{stage}.{state}.json").exists() for state in ("done", "started"))


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for a stage; a request to stop is passed on once.

    Every finished row is on disk already, so a stage that has not ended some seconds later, or when a second request
    comes, is killed.
    """
    try:
        return child.wait()
    except (KeyboardInterrupt, Terminated):
        child.terminate()
        try:
            child.wait(_SECONDS_TO_STOP)
        except (KeyboardInterrupt, Terminated, subprocess.TimeoutExpired):
            child.kill()
            child.wait()
        raise
