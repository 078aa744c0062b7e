"""The generate stage: chains over all prompts of a round, their rows on disk as they finish, and the figures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from constitution.checks import run_check
from constitution.schema import Check, Constitution
from generator.chain import Method, run_chain
from generator.schedule import run_bounded
from generator.story import chain_id
from records.compact import compact_round, forget_moves
from records.features import write_card
from records.progress import Progress
from records.rows import Message, Pair, Prompt, Reject
from records.shard import DamagedShardError, count_damaged, set_aside
from records.store import RowStore, read_rows

# Rows from which what comes after the last chain takes so long that people wonder.
_MANY = 20_000


async def generate_pairs(
    prompts: Sequence[Prompt], method: Method, folder: Path, *, in_flight: int, display: Progress
) -> dict[str, Any]:
    """Run the chain of every prompt that has no row yet, make Parquet of the rows, and count what the folder holds.

    A damaged shard, whenever it is met, is set aside and told, and the chains that it held are run again.

    Args:
        prompts: the round's prompts, each id once.
        method: what their chains share.
        folder: the round's folder; rows go to `pairs/` and `rejects/` in it.
        in_flight: most chains at work at once.
        display: progress, counted in chains.

    Returns:
        The `generation` figures of report.json; `seconds` and `chains_per_second` are those of this call.

    Raises:
        StageError: a row or a shard could not be written.
    """
    started, ran = time.monotonic(), 0
    while True:
        try:
            ran += await _run_missing(prompts, method, folder, in_flight, display)
            if len(prompts) > _MANY:
                display.note(f"{folder}: the rows become Parquet and are counted, which takes about 1 ms a row")
            mended = compact_round(folder)
            figures = count_outcomes(folder, method.constitution)
            break
        except DamagedShardError as error:
            display.note(set_aside(error))
    if mended:
        display.note(f"{folder}: in {mended} rows a character that UTF-8 cannot hold became U+FFFD.")
    seconds = time.monotonic() - started
    assert figures["chains"] == len(prompts), f"{figures['chains']} rows for {len(prompts)} prompts"
    return figures | {"seconds": round(seconds, 2), "chains_per_second": round(ran / seconds, 2)}


async def _run_missing(
    prompts: Sequence[Prompt], method: Method, folder: Path, in_flight: int, display: Progress
) -> int:
    """The chains that have no row yet; returns how many."""
    pairs, rejects = RowStore(folder / "pairs"), RowStore(folder / "rejects")
    write_card(folder / "pairs", Pair)
    write_card(folder / "rejects", Reject)
    round = method.provenance.round
    ids = ((chain_id(prompt, round), prompt) for prompt in prompts)
    waiting = [prompt for id, prompt in ids if id not in pairs.ids and id not in rejects.ids]
    display.advance(len(prompts) - len(waiting) - display.done, pairs=len(pairs.ids), rejects=len(rejects.ids))
    if waiting:
        forget_moves(folder)
    try:
        chains = run_bounded(waiting, lambda prompt: run_chain(prompt, method), in_flight=in_flight)
        await _store(chains, pairs, rejects, display)
    finally:
        pairs.close()
        rejects.close()
    return len(waiting)


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


def count_outcomes(folder: Path, constitution: Constitution) -> dict[str, Any]:
    """What a round's `pairs/` and `rejects/` hold, from the rows alone: counts, tokens, cache share, leaks.

    Of the pairs with a violated principle that has an exact check (`checked_pairs`), those whose chosen text passes
    every check and whose rejected text fails all the named ones are `checked_pairs_right`.

    `new_violation_rate` is the share of final texts judged on principles not drawn for their prompt that break one of
    those, where no exact check finds that the draft broke it too. Texts with an unreadable verdict there are left out;
    None where nothing beyond the drawn principles was judged. The rows of `damaged_shards` were made anew.
    """
    counts, rejects = Counter[str](), Counter[str]()
    for name in ("pairs", "rejects"):
        for row in read_rows(folder / name):
            counts["chains"] += 1
            counts[name] += 1
            counts["validation_pairs"] += name == "pairs" and row["split"] == "validation"
            rejects.update([row["reason"]] if name == "rejects" else [])
            if name == "pairs":
                _count_checked(Pair.model_validate(row), constitution, counts)
            _count_calls(row, counts)
            _count_undrawn(row, constitution, counts)
    return {
        "chains": counts["chains"],
        "pairs": counts["pairs"],
        "validation_pairs": counts["validation_pairs"],
        "checked_pairs": counts["checked"],
        "checked_pairs_right": counts["checked_right"],
        "rejects": dict(sorted(rejects.items())),
        "calls": counts["calls"],
        "output_tokens": counts["output"],
        "prompt_tokens": counts["prompt"],
        "cached_token_share": _share(counts["cached"], counts["prompt"]),
        "unparsed_rate": _share(counts["unparsed"], counts["verdicts"]),
        "uncanonical_drafts": counts["uncanonical"],
        "new_violation_rate": _share(counts["new_violations"], counts["judged_beyond"]),
        "damaged_shards": count_damaged(folder / "pairs") + count_damaged(folder / "rejects"),
    }


def _count_checked(pair: Pair, constitution: Constitution, counts: Counter[str]) -> None:
    """What exact patterns say of a pair that the critic has labelled."""
    checks = {principle.id: principle.check for principle in constitution.principles if principle.check}
    named = [checks[id] for id in pair.violated if id in checks]
    if named:
        chosen, rejected = pair.chosen[0].content, pair.rejected[0].content
        counts["checked"] += 1
        counts["checked_right"] += all(
            run_check(check, pair.prompt, chosen) != "violates" for check in checks.values()
        ) and all(run_check(check, pair.prompt, rejected) == "violates" for check in named)


def _count_calls(row: dict[str, Any], counts: Counter[str]) -> None:
    counts["uncanonical"] += bool(row["draft"]) and not row["draft"]["canonical"]
    for entry in row["trail"]:
        counts["calls"] += 1
        counts["output"] += entry["output_tokens"]
        counts["prompt"] += entry["prompt_tokens"]
        counts["cached"] += entry["cached_tokens"]
        counts["verdicts"] += entry["verdict"] is not None
        counts["unparsed"] += entry["verdict"] == "unparsed"


def _count_undrawn(row: dict[str, Any], constitution: Constitution, counts: Counter[str]) -> None:
    undrawn = [verdict for verdict in row["final_verdicts"] if verdict["principle"] not in row["principles"]]
    if undrawn and all(verdict["verdict"] != "unparsed" for verdict in undrawn):
        broken = {verdict["principle"] for verdict in undrawn if verdict["verdict"] == "violates"}
        counts["judged_beyond"] += 1
        counts["new_violations"] += any(not _in_draft(constitution.principle(id).check, row) for id in broken)


def _in_draft(check: Check | None, row: dict[str, Any]) -> bool:
    """Whether an exact check finds the fault in the draft already."""
    turns = [Message.model_validate(turn) for turn in row["prompt"]]
    return check is not None and run_check(check, turns, row["draft"]["text"]) == "violates"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
