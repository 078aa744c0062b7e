"""A round's reward model: pairs in, an adapter with a head and a row of rewards for each pair out.

Training pairs are scored by models that were not trained on their prompts, a fold at a time; validation pairs by the
model trained on all, which is what is kept for use.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal

from records.atomic import built_aside, write_json_atomic
from records.errors import DataError
from records.features import write_card
from records.progress import Progress, progress
from records.rewards import ABOUT, RewardRow
from records.store import RowStore
from trainer.alarms import last_tenth, mean
from trainer.data import EncodedPair, PairSet, load_pairs
from trainer.model import context_of, load_tokenizer, prepare_environment
from trainer.reward_base import RewardBase, RewardJob, load_base, reward_steps
from trainer.reward_figures import reward_alarms, reward_figures
from trainer.reward_model import Rewards, padding_id
from trainer.shortcut_alarms import shortcut_alarms
from trainer.shortcut_probe import probe_texts
from trainer.shortcuts import folds

MODEL, FOLDS, LOG, REWARDS, LEFT_OUT = (
    "reward_model", "reward_folds", "reward_training.jsonl", "rewards", "reward_left_out.json"
)  # fmt: skip
_SHOWN = 5
Part = tuple[tuple[EncodedPair, ...], tuple[EncodedPair, ...]]
"""Pairs that are trained on, and pairs that the result scores."""


def train_reward(job: RewardJob) -> dict[str, Any]:
    """Train the reward model of a round and score the round's pairs.

    Returns:
        Counts as of DPO, `first_loss` and means over the last tenth of the optimizer steps of the model trained on all
        pairs, `validation_...` and `unseen_...` accuracy and margin (trainer/reward_figures.py), `reward_model_digest`,
        shortcuts, alarms, seconds.

    Raises:
        ConfigError: the model or a setting cannot be used; nothing was trained.
        DataError: the pairs cannot be used, all problems at once; nothing was trained.
        StageError: the loss stopped being a number.
    """
    started = time.monotonic()
    prepare_environment(job.model)
    tokenizer, pairs = _read_inputs(job)
    for name in (MODEL, FOLDS, REWARDS):
        shutil.rmtree(job.round_folder / name, ignore_errors=True)
    model, parts = load_base(job), _parts(pairs.train, job)
    total = sum(reward_steps(job.config, len(train)) for train, _ in (*parts, (pairs.train, ())))
    with progress(f"reward {job.round_folder.name}", total, job.stream) as display:
        shortcuts = probe_texts(pairs.train, tokenizer, job.seed) if job.data.shortcut_pairs else {}
        alarms = shortcut_alarms(shortcuts)
        _show(display, alarms)
        base = RewardBase(job, tokenizer, *model, padding_id([*pairs.train, *pairs.validation]))
        rows, steps, digest = _train_and_score(base, pairs, parts, display)
        figures = reward_figures(rows, pairs)
        _show(display, reward_alarms(figures))
    _write(job, rows, pairs)
    return {
        "method": "reward",
        "pairs": len(pairs.train),
        "validation_pairs": len(pairs.validation),
        **{reason: len(ids) for reason, ids in pairs.left_out.items()},
        "steps": len(steps),
        "first_loss": steps[0]["loss"],
        **{name: mean(last_tenth(steps), name) for name in ("loss", "accuracy", "margin")},
        **figures,
        "folds": job.config.folds,
        "reward_model_digest": digest,
        **({"shortcuts": shortcuts} if shortcuts else {}),
        "alarms": [*alarms, *reward_alarms(figures)],
        "seconds": round(time.monotonic() - started, 2),
    }


def _read_inputs(job: RewardJob) -> tuple[Any, PairSet]:
    tokenizer = load_tokenizer(job.model, trust_remote_code=job.trust_remote_code)
    context = context_of(job.model, trust_remote_code=job.trust_remote_code)
    most = min(job.data.max_tokens, context or job.data.max_tokens)
    keep = job.data.contradictions == "keep"
    pairs = load_pairs(job.pairs, tokenizer, most, job.held_out, keep_contradictions=keep)
    _refuse_ids_twice([pair.id for pair in chain(pairs.train, pairs.validation)])
    prompts = len({tuple(pair.prompt_ids) for pair in pairs.train})
    if job.config.folds > prompts:
        raise DataError(
            f"reward.folds is {job.config.folds} and the pairs to train on have {prompts} prompts; expected at least "
            "as many prompts as folds. Lower reward.folds, or make more pairs."
        )
    return tokenizer, pairs


def _refuse_ids_twice(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    twice = sorted({id for id in ids if id in seen or seen.add(id)})  # type: ignore[func-returns-value]
    if twice:
        shown = ", ".join(twice[:_SHOWN]) + (f" and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else "")
        raise DataError(
            f"{len(twice)} ids are those of several pairs ({shown}); expected each once, since rewards belong to pairs "
            "by their ids. Give the rows of your own files ids of their own, or other file names."
        )


def _show(display: Progress, alarms: Sequence[dict[str, str]]) -> None:
    for alarm in alarms:
        display.note(f"alarm: {alarm['message']}")


def _train_and_score(
    base: RewardBase, pairs: PairSet, parts: Sequence[Part], display: Progress
) -> tuple[list[RewardRow], list[dict[str, Any]], str]:
    """The rewards of all pairs, the steps of the training on all of them, and the digest of its adapter."""
    from trainer.reward_trainer import StepLog

    folder = base.job.round_folder
    log = StepLog(folder / LOG, display)
    rows: list[RewardRow] = []
    for number, (train, held) in enumerate(parts):
        log.begin(f"fold {number}")
        digest, rewards = base.train(train, folder / FOLDS / str(number), log, score=held)
        rows += _rows(held, rewards, digest, split="train", seen=False)
    # What no fold has scored is scored by the model that saw it, and says so.
    rest = () if parts else pairs.train
    log.begin("all")
    digest, rewards = base.train(pairs.train, folder / MODEL, log, score=[*rest, *pairs.validation])
    rows += _rows(rest, rewards[: len(rest)], digest, split="train", seen=True)
    rows += _rows(pairs.validation, rewards[len(rest) :], digest, split="validation", seen=False)
    return rows, log.steps, digest


def _rows(
    pairs: Sequence[EncodedPair], rewards: Rewards, digest: str, *, split: Literal["train", "validation"], seen: bool
) -> list[RewardRow]:
    return [
        RewardRow(
            id=pair.id,
            split=split,
            chosen_reward=chosen,
            rejected_reward=rejected,
            margin=chosen - rejected,
            seen=seen,
            reward_model=digest,
        )
        for pair, (chosen, rejected) in zip(pairs, rewards, strict=True)
    ]


def _parts(pairs: Sequence[EncodedPair], job: RewardJob) -> list[Part]:
    """For each fold the pairs that are trained on and those that are scored; none where there is one fold."""
    count = job.config.folds
    if count == 1:
        return []
    fold_of = folds([str(pair.prompt_ids) for pair in pairs], job.seed, count).tolist()
    placed = list(zip(pairs, fold_of, strict=True))
    return [
        (
            tuple(pair for pair, fold in placed if fold != number),
            tuple(pair for pair, fold in placed if fold == number),
        )
        for number in range(count)
    ]


def _write(job: RewardJob, rows: Sequence[RewardRow], pairs: PairSet) -> None:
    """The rewards, whole or not at all, with their card; and what was left out."""
    with built_aside(job.round_folder / REWARDS) as folder:
        write_card(folder, RewardRow, about=ABOUT)
        store = RowStore(folder)
        for row in rows:
            store.append(row)
        store.close()
    path = job.round_folder / LEFT_OUT
    if any(pairs.left_out.values()):
        write_json_atomic(path, pairs.left_out)
    else:
        path.unlink(missing_ok=True)
