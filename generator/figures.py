"""The figures of a generate stage, counted from its rows alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from constitution.checks import run_check
from constitution.schema import Check, Constitution
from generator.filters import FILTER_REASONS
from records.pair_texts import texts_of_row
from records.rows import Judgement, Message
from records.shard import count_damaged
from records.store import read_rows


def count_outcomes(folder: Path, constitution: Constitution) -> dict[str, Any]:
    """What a round's `pairs/` and `rejects/` hold, from the rows alone: counts, tokens, cache share, leaks.

    `drafts_by_adapter` counts all drafts by the digest of their policy's adapter, the base's under "base";
    `drafts_left_out` counts by reason the drafts of groups that could be neither chosen nor rejected.
    `orders_disagree_rate` is the share of a judge's comparisons, both orders read, in which they name different texts.

    Of the pairs with a violated principle that has an exact check (`checked_pairs`), those whose chosen text passes
    every check and whose rejected text fails all the named ones are `checked_pairs_right`.

    `new_violation_rate` is the share of final texts judged on principles not drawn for their prompt that break one of
    those; of rewrites, where no exact check finds that the draft broke it too. Texts with an unreadable verdict there
    are left out;
    None where nothing beyond the drawn principles was judged. The rows of `damaged_shards` were made anew.
    `length_gap` is the mean of chosen minus rejected length in characters, `before` and `after` the filters.
    """
    tally = _Tally()
    for name in ("pairs", "rejects"):
        for row in read_rows(folder / name):
            _count_row(row, name, constitution, tally)
    damaged = count_damaged(folder / "pairs") + count_damaged(folder / "rejects")
    return _figures(tally) | {"damaged_shards": damaged}


@dataclass(frozen=True)
class _Tally:
    """What is counted of the rows so far."""

    counts: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    drafted: Counter[str] = field(default_factory=Counter)
    strategies: dict[str, Counter[str]] = field(default_factory=dict)


def _count_row(row: dict[str, Any], name: str, constitution: Constitution, tally: _Tally) -> None:
    counts = tally.counts
    counts.update(("chains", name))
    tally.strategies.setdefault(row.get("strategy", "revision"), Counter(chains=0, pairs=0)).update(("chains", name))
    tally.left_out.update(draft["left_out"] for draft in row.get("candidates", ()) if draft["left_out"])
    tally.drafted.update(_drafters(row))
    if name == "rejects":
        tally.rejects[row["reason"]] += 1
    else:
        counts["validation_pairs"] += row["split"] == "validation"
        _count_checked(row, constitution, counts)
    _count_gap(row, counts)
    _count_calls(row, counts)
    _count_comparisons(row, counts)
    _count_undrawn(row, constitution, counts)


def _figures(tally: _Tally) -> dict[str, Any]:
    counts = tally.counts
    return {
        "chains": counts["chains"],
        "pairs": counts["pairs"],
        "validation_pairs": counts["validation_pairs"],
        "checked_pairs": counts["checked"],
        "checked_pairs_right": counts["checked_right"],
        "rejects": dict(sorted(tally.rejects.items())),
        "length_gap": {side: _mean(counts[f"gap_{side}"], counts[f"pairs_{side}"]) for side in ("before", "after")},
        "by_strategy": {name: {"chains": of["chains"], "pairs": of["pairs"]} for name, of in tally.strategies.items()},
        "drafts": tally.drafted.total(),
        "drafts_by_adapter": dict(sorted(tally.drafted.items())),
        "drafts_left_out": dict(sorted(tally.left_out.items())),
        "compared": counts["compared"],
        "orders_disagree_rate": _share(counts["orders_disagree"], counts["compared"]),
        "calls": counts["calls"],
        "output_tokens": counts["output"],
        "prompt_tokens": counts["prompt"],
        "cached_token_share": _share(counts["cached"], counts["prompt"]),
        "unparsed_rate": _share(counts["unparsed"], counts["verdicts"]),
        "uncanonical_drafts": counts["uncanonical"],
        "new_violation_rate": _share(counts["new_violations"], counts["judged_beyond"]),
    }


def _count_checked(row: dict[str, Any], constitution: Constitution, counts: Counter[str]) -> None:
    """What exact patterns say of a pair that the critic has labelled."""
    checks = {principle.id: principle.check for principle in constitution.principles if principle.check}
    named = [checks[id] for id in row["violated"] if id in checks]
    if named:
        turns = [Message.model_validate(turn) for turn in row["prompt"]]
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        counts["checked"] += 1
        counts["checked_right"] += all(
            run_check(check, turns, chosen) != "violates" for check in checks.values()
        ) and all(run_check(check, turns, rejected) == "violates" for check in named)


def _count_gap(row: dict[str, Any], counts: Counter[str]) -> None:
    if row.get("reason", FILTER_REASONS[0]) in FILTER_REASONS:
        gap = texts_of_row(row).gap
        for side in ("before",) if "reason" in row else ("before", "after"):
            counts[f"gap_{side}"] += gap
            counts[f"pairs_{side}"] += 1


def _mean(total: int, count: int) -> float | None:
    return round(total / count, 1) if count else None


def _count_calls(row: dict[str, Any], counts: Counter[str]) -> None:
    counts["uncanonical"] += sum(not draft["canonical"] for draft in _drafts(row))
    for entry in row["trail"]:
        counts["calls"] += 1
        counts["output"] += entry["output_tokens"]
        counts["prompt"] += entry["prompt_tokens"]
        counts["cached"] += entry["cached_tokens"]
        counts["verdicts"] += entry["verdict"] is not None or entry["kind"] in ("judgement", "rating")
        counts["unparsed"] += entry["verdict"] == "unparsed"


def _drafts(row: dict[str, Any]) -> list[dict[str, Any]]:
    """All drafts of a chain; a draft that was chosen or rejected stands on the row twice, and here once."""
    return [one["draft"] for one in row.get("candidates", ())] or [row["draft"]] * bool(row["draft"])


def _drafters(row: dict[str, Any]) -> Iterator[str]:
    for draft in _drafts(row):
        author = draft.get("author") or row["provenance"]["policy"]
        yield author["adapter_digest"] or "base"


def _count_comparisons(row: dict[str, Any], counts: Counter[str]) -> None:
    """A comparison is two judgements, one for each order, that stand next to each other on the row."""
    found = [Judgement.model_validate(one) for one in row.get("judgements", ())]
    for one, other in zip(found[::2], found[1::2], strict=True):
        if "unparsed" not in (one.better, other.better):
            counts["compared"] += 1
            counts["orders_disagree"] += one.preferred != other.preferred


def _count_undrawn(row: dict[str, Any], constitution: Constitution, counts: Counter[str]) -> None:
    undrawn = [verdict for verdict in row["final_verdicts"] if verdict["principle"] not in row["principles"]]
    if undrawn and all(verdict["verdict"] != "unparsed" for verdict in undrawn):
        broken = {verdict["principle"] for verdict in undrawn if verdict["verdict"] == "violates"}
        counts["judged_beyond"] += 1
        counts["new_violations"] += any(not _in_draft(constitution.principle(id).check, row) for id in broken)


def _in_draft(check: Check | None, row: dict[str, Any]) -> bool:
    """Whether an exact check finds the fault in the draft already, of which the final text is a rewrite."""
    if row.get("strategy", "revision") != "revision":
        return False
    turns = [Message.model_validate(turn) for turn in row["prompt"]]
    return check is not None and run_check(check, turns, row["draft"]["text"]) == "violates"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
