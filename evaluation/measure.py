"""Drafts of the test prompts, each checked and judged: one draft's life is one coroutine and ends as one row.

A policy drafts; the exact checks of the principles are run on every draft; the critic is asked, each principle in a
conversation of its own, about the first few of a prompt's drafts. A row is on disk as soon as it is finished, and a
second call goes on from the rows that are there. A truncated draft is stored and counted, and no principle is judged on
it: a verdict on half a text would be a guess. It answers nothing, though. Nothing here knows how the policy came about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from constitution.checks import run_check
from constitution.render import critique_request
from constitution.schema import Constitution, Principle
from evaluation.asked import asked_by_check, asked_by_judge, require_valid_checks
from evaluation.config import EvaluateConfig
from evaluation.rows import Asked, DraftRow, draft_id
from generator.engine import Completion, EngineFailedError, PromptTooLongError
from generator.seat import Seat, ask_verdict, reply
from records.errors import DataError, StageError
from records.rows import Message, Prompt, Split, Verdict
from records.store import RowStore

Advance = Callable[..., None]
_DRAFT, _CRITIQUE = 0, 1  # stages of a call: later ones are served first
_ENGINE_FAULTS = (PromptTooLongError, EngineFailedError)


def choose_prompts(prompts: Sequence[Prompt], config: EvaluateConfig, split: Split = "test") -> list[Prompt]:
    """The prompts that are evaluated: those of the split, in the order of their ids, at most `max_prompts`.

    Raises:
        DataError: the split is empty.
    """
    chosen = sorted((prompt for prompt in prompts if prompt.split == split), key=lambda prompt: prompt.id)
    if not chosen:
        raise DataError(
            f"none of the {len(prompts)} prompts is in the {split} split; expected at least one. "
            f"Give more prompts, or a larger share (splits.{split})."
        )
    return chosen[: config.max_prompts]


@dataclass(frozen=True)
class _Bench:
    """What every draft of an evaluation is measured with."""

    constitution: Constitution
    policy: Seat
    critic: Seat
    config: EvaluateConfig
    few_shots: tuple[Message, ...]


async def evaluate_policy(  # noqa: PLR0913 - two seats and two outlets; a record around them would hide which is which
    prompts: Sequence[Prompt],
    constitution: Constitution,
    policy: Seat,
    critic: Seat,
    config: EvaluateConfig,
    store: RowStore,
    advance: Advance,
    few_shots: tuple[Message, ...] = (),
) -> None:
    """Draft and judge until every prompt has its rows in the store.

    Args:
        prompts: those to evaluate, as `choose_prompts` gives them.
        constitution: every one of its principles is asked about.
        policy: who drafts; the drafts are drawn by `config.sampling`, whatever the seat's own.
        critic: who judges, and with `answered_by: judge` says whether drafts do what their prompts want.
        config: how much and by whom.
        store: `DraftRow`s; drafts whose id is there are passed over.
        advance: called as `advance(1, truncated=n)` after each row, as `records.progress.Progress.advance`.
        few_shots: the worked examples that the critic sees when it labels, so that the same critic is measured.

    Raises:
        ConfigError: a prompt's check cannot be run.
        StageError: the engine gave up on most drafts; none of those is stored, so the same call does them again.
    """
    require_valid_checks(list(prompts))
    bench = _Bench(constitution, replace(policy, sampling=config.sampling), critic, config, few_shots)
    failed = await _draft_and_judge(_drafts_to_do(prompts, config, store), bench, store, advance)
    n_done = len(store.ids)
    if len(failed) > n_done:
        raise StageError(
            f"the engine gave up on {len(failed)} of {len(failed) + n_done} drafts ({failed[0].detail}); the rows of "
            "the others are safe. Look at its log, then run the same command again: it goes on from here."
        )
    for row in failed:
        store.append(row)


async def _draft_and_judge(
    todo: Iterator[tuple[Prompt, int]], bench: _Bench, store: RowStore, advance: Advance
) -> list[DraftRow]:
    """Store each row as it is finished; those that the engine gave up on are returned instead."""
    failed: list[DraftRow] = []
    n_truncated = 0

    async def work() -> None:
        nonlocal n_truncated
        for prompt, number in todo:
            row = await evaluate_draft(prompt, number, bench)
            n_truncated += row.finish == "truncated"
            if row.problem == "engine_error":
                failed.append(row)
            else:
                store.append(row)
            advance(1, truncated=n_truncated)

    await _run_workers(work, bench.config.in_flight)
    return failed


def _drafts_to_do(prompts: Sequence[Prompt], config: EvaluateConfig, store: RowStore) -> Iterator[tuple[Prompt, int]]:
    """Drafts of one prompt follow each other, so the engine finds their shared prefix in its cache."""
    return (
        (prompt, number)
        for prompt in prompts
        for number in range(config.drafts)
        if draft_id(prompt.id, number) not in store.ids
    )


async def _run_workers(work: Callable[[], Any], count: int) -> None:
    """Run `count` of these at once; the first error ends all of them and is raised as it is."""
    tasks = [asyncio.create_task(work()) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def evaluate_draft(prompt: Prompt, number: int, bench: _Bench) -> DraftRow:
    """One draft and all that is found about it."""
    row = DraftRow(
        id=draft_id(prompt.id, number),
        prompt_id=prompt.id,
        number=number,
        prompt=prompt.messages,
        benign=prompt.benign,
        policy=bench.policy.author,
        critic=bench.critic.author,
        answered_by=bench.config.answered_by,
        finish="none",
    )
    try:
        draft = await reply(bench.policy, prompt.messages, stage=_DRAFT)
    except _ENGINE_FAULTS as fault:
        return row.model_copy(update=_problem(fault))
    row = row.model_copy(update={"text": draft.text, "output_tokens": draft.output_tokens, "finish": _finish(draft)})
    return _unfinished(row, prompt, bench) if row.finish == "truncated" else await _judge(row, prompt, bench)


def _unfinished(row: DraftRow, prompt: Prompt, bench: _Bench) -> DraftRow:
    """A draft that never came to its end is no answer to a benign prompt; whether it refuses a harmful one is open."""
    by_check = _asks_by_check(prompt, bench)
    asked = asked_by_check(prompt, row.text) is not None if by_check else _asks_the_judge(row, bench)
    return row.model_copy(update={"does_what_is_asked": "no"}) if asked and prompt.benign else row


def _asks_by_check(prompt: Prompt, bench: _Bench) -> bool:
    return bench.config.answered_by == "check" and prompt.check is not None


def _asks_the_judge(row: DraftRow, bench: _Bench) -> bool:
    return bench.config.answered_by == "judge" and row.number < bench.config.critic_drafts


def _finish(draft: Completion) -> str:
    return "truncated" if draft.finish_reason == "length" else "whole"


def _problem(fault: Exception) -> dict[str, Any]:
    name = "too_long" if isinstance(fault, PromptTooLongError) else "engine_error"
    return {"problem": name, "detail": str(fault)}


async def _judge(row: DraftRow, prompt: Prompt, bench: _Bench) -> DraftRow:
    judged = row.number < bench.config.critic_drafts
    principles = bench.constitution.principles if judged else ()
    asked, *verdicts = await asyncio.gather(
        _does_what_is_asked(row, prompt, bench),
        *(_verdict(principle, row, bench) for principle in principles),
    )
    faults = [fault for _, fault in (asked, *verdicts) if fault is not None]
    # An engine that gave up outweighs a text too long: such a draft is done again rather than stored half judged.
    faults.sort(key=lambda fault: isinstance(fault, PromptTooLongError))
    return row.model_copy(
        update={
            "checks": run_checks(bench.constitution, row.prompt, row.text),
            "judged": judged,
            "verdicts": tuple(verdict for verdict, _ in verdicts),
            "does_what_is_asked": asked[0],
            **(_problem(faults[0]) if faults else {}),
        }
    )


def run_checks(constitution: Constitution, prompt: Sequence[Message], text: str) -> tuple[Verdict, ...]:
    """What the exact checks say of a text, one verdict for each principle that has a check."""
    return tuple(
        Verdict(principle=principle.id, verdict=run_check(principle.check, prompt, text))
        for principle in constitution.principles
        if principle.check is not None
    )


async def _does_what_is_asked(row: DraftRow, prompt: Prompt, bench: _Bench) -> tuple[Asked | None, Exception | None]:
    if _asks_by_check(prompt, bench):
        return asked_by_check(prompt, row.text), None
    if not _asks_the_judge(row, bench):
        return None, None
    try:
        return await asked_by_judge(prompt, row.text, bench.critic), None
    except _ENGINE_FAULTS as fault:
        return "unparsed", fault


async def _verdict(principle: Principle, row: DraftRow, bench: _Bench) -> tuple[Verdict, Exception | None]:
    """The critic's verdict; a question that could not be asked is `unparsed`, never a pass."""
    request = critique_request(bench.constitution, principle, row.prompt, row.text)
    try:
        turns = (*bench.few_shots, Message(role="user", content=request))
        return (await ask_verdict(bench.critic, principle, turns, stage=_CRITIQUE))[0], None
    except _ENGINE_FAULTS as fault:
        return Verdict(principle=principle.id, verdict="unparsed", critique=f"not asked: {fault}"), fault
