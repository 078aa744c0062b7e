"""The loop: evaluate and draft, train, and again with the policy just trained. Each stage is a process of its own."""

from __future__ import annotations

import sys
from typing import Any

import yaml

from loop.folder import STAGES, WARM_UP, begin_stage, take_back
from loop.inputs import Run, evaluate_inputs, generate_inputs, own_pairs, pair_folders, train_inputs
from loop.processes import Job, StageProcesses
from loop.provenance import write_provenance
from loop.published import published_at
from loop.reward_inputs import reward_inputs
from records.atomic import write_json_atomic, write_text_atomic
from records.errors import ConfigError, StaleStageError
from records.publish import is_published, publish_round
from records.shard import DamagedShardError, check_shards
from trainer.preferences import read_preferences

_INPUTS = {
    "evaluate": evaluate_inputs, "generate": generate_inputs, "reward": reward_inputs, "train": train_inputs
}  # fmt: skip


def prepare(run: Run) -> None:
    """Compare with what is there, then write what a run is repeated from: config, constitution and provenance.

    A finished round that is not trained on and has a damaged shard is finished no more, and will be gone on with.

    Raises:
        StaleStageError: a stage was made, or begun, from other inputs; nothing was written.
        DataError: own pairs (`train.pairs_from`) that cannot be trained on, all problems at once.
    """
    _refuse_stale(run)
    _take_back_damaged(run)
    read_preferences(own_pairs(run, 0), soft_labels=run.config.train.soft_labels)
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
        for folder in pair_folders(run, index) if stage in ("reward", "train") else ():
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
    if run.config.train.method == "reward":
        raise ConfigError(
            "train.method is reward, which trains no policy for a next round; expected dpo or sft. A reward model "
            "alone is what `constitute reward CONFIG --round 0` trains, or `constitute train CONFIG` on pairs_from."
        )
    jobs = _jobs(run)
    with StageProcesses(run.folder) as processes:
        for job, then in zip(jobs, [*jobs[1:], None], strict=True):
            if job.stages in (("train",), ("reward",)) and train_pairs(run, job.round) < run.config.min_pairs:
                return "too_few_pairs"
            run_stages(run, job, processes, then)
    return "complete"


def _jobs(run: Run) -> list[Job]:
    """The whole loop in its order; one policy's evaluation and its next drafts share one engine."""
    jobs = [Job(WARM_UP, ("generate",)), Job(WARM_UP, ("train",))] if run.config.train.warm_up != "none" else []
    for index in range(run.config.rounds):
        gate = [Job(index, ("reward",))] if run.config.train.reward_gate else []
        jobs += [Job(index, ("evaluate", "generate")), *gate, Job(index, ("train",))]
    return [*jobs, Job(run.config.rounds, ("evaluate",))]


def train_pairs(run: Run, index: int) -> int:
    """Pairs of a finished generate stage that training may use."""
    marker: dict[str, Any] = run.folder.done("generate", index) or {"outputs": {"train_pairs": 0}}
    return int(marker["outputs"]["train_pairs"])


def run_stages(run: Run, job: Job, processes: StageProcesses, then: Job | None = None) -> None:
    """Run the stages of a job that are not done, in one process; `then` as in `StageProcesses.run`.

    Raises:
        ConfigError: the stage before is not done.
        StageFailed, StageError, KeyboardInterrupt, Terminated: see `StageProcesses.run`.
    """
    _require_the_stage_before(run, job.round, job.stages[0])
    todo = tuple(
        stage for stage in job.stages if begin_stage(run.folder, stage, job.round, _INPUTS[stage](run, job.round))
    )
    if todo:
        processes.run(Job(job.round, todo), then)
    if "generate" in job.stages and "generate" not in todo:
        _publish_what_is_done(run, job.round)


def _publish_what_is_done(run: Run, index: int) -> None:
    """Copy a round that was made before `generate.publish_to` was given, or under another address."""
    address = published_at(run, index)
    if address and not is_published(run.folder.round(index), address):
        copied = publish_round(run.folder.round(index), address)
        sys.stderr.write(f"round {index}: {copied} files copied to {address}, each held against its digest\n")


def _require_the_stage_before(run: Run, index: int, stage: str) -> None:
    first = WARM_UP if run.config.train.warm_up != "none" else 0
    before = ("generate", index) if stage in ("reward", "train") else ("train", index - 1)
    if stage == "train" and index != WARM_UP and run.config.train.reward_gate:
        before = ("reward", index)
    elif before[0] == "generate" and index == 0 and run.config.train.pairs_from and not _begun(run, "generate", 0):
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
