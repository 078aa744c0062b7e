"""Filters at the end of a generate stage: pairs become rejects with their reason, whatever kills it meanwhile."""

from __future__ import annotations

import asyncio
import io
import signal
from pathlib import Path
from typing import Any

import pytest

from generator.config import FilterConfig
from generator.engine import Call
from generator.generate import generate_pairs
from generator.method import CRITIQUE, DRAFT, REVISION
from records.progress import Progress
from records.rows import Pair, Reject
from records.shard import shards
from records.store import RowStore, read_rows
from tests.forked import crash_runs
from tests.generator.toy import method_of, prompt, reply_of

LONG = " ".join(f"word{number}" for number in range(60))
RUDE, KIND = "Boil it, fool.", "Boil it."
# What is asked, what is drafted, and what becomes of it; asked in other words it is another prompt that says the same.
SAID = [
    ("Boil an egg?", RUDE, KIND),
    ("boil an  EGG?", RUDE, KIND),
    ("Fry an egg?", RUDE, KIND),
    ("fry an egg?", KIND, RUDE),
    (f"Bake {LONG}?", f"{LONG} fool", f"{LONG} friend"),
    (f"Bake other {LONG}?", f"{LONG} fool", f"{LONG} friend"),
    *((f"Mend number {number}?", RUDE, KIND) for number in range(6)),
]
PROMPTS = [prompt(text, split="train") for text, _, _ in SAID]
LEFT_OUT = {"contradictory": 2, "duplicate": 2}


def answer(text: str, call: Call) -> str:
    """Every draft breaks something, and no other text does."""
    draft, final = next((draft, final) for asked, draft, final in SAID if asked in text)
    if call.stage in (DRAFT, REVISION):
        return draft if call.stage == DRAFT else final
    return reply_of("violates" if call.stage == CRITIQUE else "complies")


def generate(folder: Path, *, filters: FilterConfig | None = None) -> tuple[dict[str, Any], str]:
    stream = io.StringIO()
    display = Progress("test", len(PROMPTS), stream)
    work = generate_pairs(
        PROMPTS, method_of(answer), folder, in_flight=4, display=display, filters=filters or FilterConfig()
    )
    return asyncio.run(work), stream.getvalue()


def outcome(folder: Path) -> dict[str, Any]:
    """Every row of a round by id: a pair's sides, or a reject's reason and words."""
    found = {row["id"]: (row["chosen"], row["rejected"]) for row in read_rows(folder / "pairs")}
    rejects = {row["id"]: (row["reason"], row["detail"], row["final"]) for row in read_rows(folder / "rejects")}
    assert not found.keys() & rejects.keys()
    return found | rejects


def test_pairs_become_rejects_with_their_reason_and_none_is_lost(tmp_path: Path) -> None:
    figures, told = generate(tmp_path)
    assert figures["chains"] == len(PROMPTS) == figures["pairs"] + sum(figures["rejects"].values())
    assert figures["rejects"] == LEFT_OUT
    assert "left out by filters: 2 contradictory, 2 duplicate" in told
    ids = {found.messages[0].content: f"{found.id}-00-0" for found in PROMPTS}
    rejects = {row["id"]: Reject.model_validate(row) for row in read_rows(tmp_path / "rejects")}
    boiled, baked = (sorted(ids[SAID[at][0]] for at in both) for both in ((0, 1), (4, 5)))
    assert (
        rejects[ids["Fry an egg?"]].detail == f"pair {ids['fry an egg?']} prefers the other one of the same two texts"
    )
    assert rejects[boiled[1]].detail == f"says the same as pair {boiled[0]}"
    assert rejects[baked[1]].detail == f"says nearly the same as pair {baked[0]}"
    assert rejects[baked[1]].final == f"{LONG} friend" and rejects[baked[1]].draft.text == f"{LONG} fool"
    assert rejects[baked[1]].trail and rejects[baked[1]].final_verdicts
    for row in read_rows(tmp_path / "pairs"):
        Pair.model_validate(row)


def test_the_length_gap_is_told_before_and_after(tmp_path: Path) -> None:
    gap = len(KIND) - len(RUDE)
    plain, _ = generate(tmp_path / "plain", filters=FilterConfig(contradictions="keep", duplicates="keep"))
    before = round((9 * gap - gap + 2 * 2) / 12, 1)
    assert plain["length_gap"] == {"before": before, "after": before} and plain["rejects"] == {}
    figures, _ = generate(tmp_path / "filtered")
    assert figures["length_gap"] == {"before": before, "after": round((7 * gap + 2) / 8, 1)}
    balanced, told = generate(tmp_path / "balanced", filters=FilterConfig(length_balance=True))
    assert balanced["rejects"]["length_balance"] == 8 == 12 - 4 - balanced["pairs"]
    assert balanced["length_gap"] == {"before": before, "after": None}
    assert "8 length_balance" in told


def test_the_same_command_again_changes_nothing(tmp_path: Path) -> None:
    first, _ = generate(tmp_path)
    found = outcome(tmp_path)
    again, _ = generate(tmp_path)
    timed = ("seconds", "chains_per_second")
    assert {name: value for name, value in again.items() if name not in timed} == {
        name: value for name, value in first.items() if name not in timed
    }
    assert outcome(tmp_path) == found


def test_prompts_that_come_later_are_held_against_all_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pair whose opposite comes with a later prompt has its partner among the rejects already."""
    monkeypatch.setattr("tests.generator.test_filtering.PROMPTS", PROMPTS[:5])
    generate(tmp_path)
    monkeypatch.undo()
    generate(tmp_path)
    generate(tmp_path / "at once")
    assert outcome(tmp_path) == outcome(tmp_path / "at once")


CRASHING = """
import json, sys
from pathlib import Path
import records.store
records.store.RowStore.__init__.__kwdefaults__["rows_per_shard"] = 3
from tests.forked import forked
from tests.generator.test_filtering import generate
generate(Path(sys.argv[1]) / "whole")
for point in json.loads(sys.argv[2]):
    for at in (point, ""):
        forked(point, at, lambda: generate(Path(sys.argv[1]) / point))
"""
# Twelve rows are pairs first; the thirteenth row that is written is the first pair that becomes a reject. The files
# are two cards and then what was decided.
POINTS = [
    *("file-before-rename:3", "file-after-rename:3", "compact-begun", "row-before:13", "row-torn:13", "row-after:13"),
    *("row-before:15", "row-after:16", "parquet-torn", "parquet-before-rename:2", "parquet-after-rename"),
    *("parquet-after-rename:4", "lines-removed", "lines-removed:3", "compact-ended"),
]


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]], str]:
    folder = tmp_path_factory.mktemp("crashes")
    return folder, *crash_runs(CRASHING, folder, POINTS)


@pytest.mark.parametrize("point", POINTS)
def test_killed_between_decision_and_end_the_same_pairs_are_left_out(crashed: Any, point: str) -> None:
    folder, codes, errors = crashed
    assert codes[point] == [-signal.SIGKILL, 0], errors
    assert outcome(folder / point) == outcome(folder / "whole")
    assert len(outcome(folder / "whole")) == len(PROMPTS)
    assert not (folder / point / "moved.json").exists()


@pytest.mark.parametrize("lost", range(4))
def test_a_pair_made_anew_is_held_against_those_that_have_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """A pair whose opposite lies among the rejects already would look blameless beside the other pairs alone."""
    monkeypatch.setitem(RowStore.__init__.__kwdefaults__, "rows_per_shard", 1)
    generate(tmp_path)
    before = outcome(tmp_path)
    shards(tmp_path / "rejects")[lost].write_bytes(b"no row")
    figures, told = generate(tmp_path)
    assert figures["damaged_shards"] == 1 and "set aside" in told
    assert outcome(tmp_path) == before
    assert figures["rejects"] == LEFT_OUT
