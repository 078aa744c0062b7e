"""The generate stage: chains over all prompts of a round, their rows on disk as they finish, and the figures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

from generator.ai_feedback import by_ai_feedback
from generator.best_of_n import by_best_of_n
from generator.chain import run_chain
from generator.config import FilterConfig
from generator.figures import count_outcomes
from generator.filters import FILTER_REASONS, Decisions, decide
from generator.method import Method
from generator.principles import principles_of
from generator.rating import by_rating
from generator.schedule import run_bounded
from generator.story import Story, chain_id, told
from records.compact import compact_round, decided_moves, forget_moves
from records.features import write_card
from records.pair_texts import VerifiedPairs
from records.progress import Progress
from records.rows import Pair, Prompt, Reject
from records.shard import DAMAGED, DamagedShardError, set_aside
from records.store import RowStore
from records.worker_rows import KINDS, collect

Chain = tuple[Prompt, int]
"""A chain that is to be run: its prompt, and its number among the chains of that prompt."""

# How a group of drafts becomes a pair.
_GROUPS = {"best_of_n": by_best_of_n, "ai_feedback": by_ai_feedback, "rating": by_rating}

# Rows from which what comes after the last chain takes so long that people wonder.
_MANY = 20_000


class Elsewhere(Protocol):
    """Who runs the chains of a stage instead of its own process."""

    async def collect(self) -> None:
        """Bring the rows that were left behind by others into the round's folder.

        Raises:
            DamagedShardError: some of what was left is no row; all that is one is in the folder.
        """
        ...

    async def run(self, chains: Iterator[tuple[str, Chain]], total: int, there: Counter[str], display: Progress) -> int:
        """Have the chains run, and bring their rows into the round's folder.

        Args:
            chains: by their ids, one at a time.
            total: how many there are.
            there: `pairs` and `rejects` that the folder has already; what is shown goes on from them.
            display: progress, counted in chains.

        Returns:
            How many rows were brought. Where that is less than the total, the others are lost, and that was told; it is
            never less than half.

        Raises:
            StageError: rows cannot be written or found, or whoever runs them is gone for good.
            DamagedShardError: as `collect`.
        """
        ...


_FILTERS = FilterConfig()


async def generate_pairs(  # noqa: PLR0913 - one more than usual: how chains are run, and where, are two things
    prompts: Sequence[Prompt],
    method: Method,
    folder: Path,
    *,
    in_flight: int,
    display: Progress,
    filters: FilterConfig = _FILTERS,
    elsewhere: Elsewhere | None = None,
    left_at: str | None = None,
) -> dict[str, Any]:
    """Run the chain of every prompt that has no row yet, filter the pairs, make Parquet of the rows, and count them.

    A damaged shard, whenever it is met, is set aside and told, and the chains that it held are run again.

    Args:
        prompts: the round's prompts, each id once.
        method: what their chains share, and how many chains a prompt has.
        folder: the round's folder; rows go to `pairs/` and `rejects/` in it.
        in_flight: most chains at work at once.
        display: progress, counted in chains.
        filters: which verified pairs are left out again, once all chains are done.
        elsewhere: who runs the chains instead of this process; `in_flight` is then theirs to know.
        left_at: the address at which workers that are there no more may have left rows of this round.

    Returns:
        The `generation` figures of report.json; `seconds` and `chains_per_second` are those of this call.

    Raises:
        StageError: a row or a shard could not be written.
    """
    started, ran = time.monotonic(), 0
    while True:
        try:
            if elsewhere is None:
                collect(folder, left_at)  # what workers left that are there no more
            else:
                await elsewhere.collect()
            done, lost = await _run_missing(prompts, method, folder, in_flight, display, elsewhere)
            ran += done
            if lost:
                continue
            if len(prompts) > _MANY:
                display.note(f"{folder}: the rows become Parquet and are counted, which takes about 1 ms a row")
            mended = compact_round(folder, _left_out(folder, filters, method.seed, display))
            figures = count_outcomes(folder, method.constitution)
            break
        except DamagedShardError as error:
            # A worker's folder goes with the worker; what is damaged in it is kept with the round's own.
            kind = error.path.parent.name
            display.note(set_aside(error, folder / (kind if kind in KINDS else "pairs") / DAMAGED))
    if mended:
        display.note(f"{folder}: in {mended} rows a character that UTF-8 cannot hold became U+FFFD.")
    seconds = time.monotonic() - started
    chains = len(prompts) * method.chains_per_prompt
    assert figures["chains"] == chains, f"{figures['chains']} rows for {chains} chains"
    return figures | {"seconds": round(seconds, 2), "chains_per_second": round(ran / seconds, 2)}


def _left_out(folder: Path, filters: FilterConfig, seed: int, display: Progress) -> Decisions:
    """The pairs that filters leave out; none anew where a compaction that was cut short has its orders already."""
    if decided_moves(folder) is not None:
        return {}
    decisions = decide(VerifiedPairs(folder, FILTER_REASONS), filters, seed)
    counts = Counter(reason for reason, _ in decisions.values())
    if counts:
        display.note(
            f"left out by filters: {', '.join(f'{count} {reason}' for reason, count in sorted(counts.items()))}"
        )
    return decisions


async def _run_missing(
    prompts: Sequence[Prompt],
    method: Method,
    folder: Path,
    in_flight: int,
    display: Progress,
    elsewhere: Elsewhere | None,
) -> tuple[int, int]:
    """The chains that have no row yet; returns how many have one now, and how many still have none."""
    pairs, rejects = RowStore(folder / "pairs"), RowStore(folder / "rejects")
    write_card(folder / "pairs", Pair)
    write_card(folder / "rejects", Reject)
    waiting = sum(1 for _ in _missing(prompts, method, pairs, rejects))
    there = Counter(pairs=len(pairs.ids), rejects=len(rejects.ids))
    display.advance(len(prompts) * method.chains_per_prompt - waiting - display.done, **there)
    if waiting:
        forget_moves(folder)
    missing = _missing(prompts, method, pairs, rejects)
    try:
        if elsewhere is None:
            outcomes = run_bounded(missing, lambda chain: run_one(*chain[1], method), in_flight=in_flight)
            await _store(outcomes, pairs, rejects, display)
            done = waiting
        else:
            done = await elsewhere.run(missing, waiting, there, display)
    finally:
        pairs.close()
        rejects.close()
    return done, waiting - done


def _missing(
    prompts: Sequence[Prompt], method: Method, pairs: RowStore, rejects: RowStore
) -> Iterator[tuple[str, Chain]]:
    """The chains that have no row, by id.

    One at a time: a list would hold every prompt of a large source for the whole stage. Chains of one prompt follow
    each other, so the engine finds their shared prefix in its cache.
    """
    for prompt in prompts:
        for index in range(method.chains_per_prompt):
            id = chain_id(prompt, method.provenance.round, index)
            if id not in pairs.ids and id not in rejects.ids:
                yield id, (prompt, index)


async def run_one(prompt: Prompt, index: int, method: Method) -> Pair | Reject:
    """One chain of a prompt, by the strategy of the stage."""
    if method.strategy == "revision":
        return await run_chain(prompt, method, index)
    principles = principles_of(prompt, method, index)
    story = Story(prompt, principles, method.provenance, strategy=method.strategy)
    return await told(story, _GROUPS[method.strategy](story, principles, method))


async def _store(
    chains: AsyncGenerator[Pair | Reject, None], pairs: RowStore, rejects: RowStore, display: Progress
) -> None:
    """Each outcome to its folder as it comes."""
    started, tokens = time.monotonic(), 0
    async with aclosing(chains) as outcomes:
        async for outcome in outcomes:
            (pairs if isinstance(outcome, Pair) else rejects).append(outcome)
            tokens += sum(entry.output_tokens for entry in outcome.trail)
            rate = tokens / (time.monotonic() - started)
            display.advance(1, pairs=len(pairs.ids), rejects=len(rejects.ids), tokens_per_second=round(rate))
