"""The generate stage with an instant engine: every prompt one row, whatever stops it and however often."""

from __future__ import annotations

import asyncio
import io
import re
import signal
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from constitution.schema import Check
from generator.engine import EngineFailedError
from generator.figures import count_outcomes
from generator.generate import generate_pairs
from records.atomic import CRASH_POINTS
from records.errors import StageError
from records.progress import Progress
from records.rows import Pair
from records.store import RowStore, read_rows
from tests.forked import crash_runs
from tests.generator.toy import (
    CONSTITUTION,
    DRAFT_TEXT,
    FINAL_TEXT,
    honest,
    method_of,
    prompt,
    script,
)

PROMPTS = [prompt(f"How do I boil egg number {number}?") for number in range(25)]
# Those that a stage of its own passes: adapters and markers are written by others, damage is for test_damage.py.
ELSEWHERE = ("adapter-", "marker-", "shard-set-aside")
PASSED = [point for point in CRASH_POINTS if not point.startswith(ELSEWHERE)]


def mixed(text):
    """Every third draft breaks nothing."""
    return "Boil it." if any(f"number {number}?" in text for number in range(0, 25, 3)) else DRAFT_TEXT


def generate(folder, *, prompts=PROMPTS, answer=None, in_flight=4, **settings):
    display = Progress("test", len(prompts), io.StringIO())
    method = method_of(answer or script(draft=mixed), **settings)
    return asyncio.run(generate_pairs(prompts, method, folder, in_flight=in_flight, display=display))


def rows(folder):
    return [*read_rows(folder / "pairs"), *read_rows(folder / "rejects")]


def judged(folder):
    """Rows whose final text was judged beyond the drawn principles, every answer read."""
    return [
        row
        for row in rows(folder)
        if set(row["verified"]) - set(row["principles"])
        and all(verdict["verdict"] != "unparsed" for verdict in row["final_verdicts"])
    ]


def expect_each_once(folder, prompts=PROMPTS):
    assert Counter(row["prompt_id"] for row in rows(folder)) == Counter(prompt.id for prompt in prompts)
    assert len({row["id"] for row in rows(folder)}) == len(prompts)


def test_counts(tmp_path):
    figures = generate(tmp_path)
    expect_each_once(tmp_path)
    assert (figures["chains"], figures["pairs"], figures["rejects"]) == (25, 16, {"complies": 9})
    assert figures["chains"] == figures["pairs"] + sum(figures["rejects"].values())
    assert figures["unparsed_rate"] == 0.0 and figures["uncanonical_drafts"] == 0
    assert figures["calls"] == 9 * 4 + 16 * (1 + 3 + 1 + 2 + 3)
    assert figures["output_tokens"] > 0 and figures["chains_per_second"] > 0
    assert figures["new_violation_rate"] is None
    assert count_outcomes(tmp_path, CONSTITUTION)["pairs"] == 16


@pytest.mark.parametrize(
    ("forbidden", "right"), [(DRAFT_TEXT, 16), (FINAL_TEXT, 0), ("in neither text", 0), ("number", None)]
)
def test_pairs_are_held_to_the_exact_checks_of_the_principles_they_name(tmp_path, forbidden, right):
    generate(tmp_path)
    held = [
        principle.model_copy(update={"check": Check(forbid=(re.escape(forbidden),))} if right is not None else {})
        for principle in CONSTITUTION.principles
    ]
    figures = count_outcomes(tmp_path, CONSTITUTION.model_copy(update={"principles": tuple(held)}))
    assert (figures["checked_pairs"], figures["checked_pairs_right"]) == ((16, right) if right is not None else (0, 0))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False), st.integers(1, 30))
def test_chains_are_pairs_and_rejects_whatever_the_critic_says(tmp_path_factory, source, in_flight):
    folder = tmp_path_factory.mktemp("round")
    wild = lambda *_: source.choice(["violates"] * 4 + ["complies"] * 6 + ["not_applicable", "unparsed"])  # noqa: E731
    figures = generate(folder, answer=script(critic=wild), in_flight=in_flight)
    assert figures["chains"] == len(PROMPTS) == figures["pairs"] + sum(figures["rejects"].values())
    expect_each_once(folder)


def test_a_second_call_does_nothing_and_new_prompts_are_added(tmp_path):
    generate(tmp_path, prompts=PROMPTS[:10])
    before = rows(tmp_path)
    calls = []
    figures = generate(tmp_path, prompts=PROMPTS[:10], answer=lambda text, call: calls.append(text))
    assert rows(tmp_path) == before and not calls and figures["chains"] == 10
    assert generate(tmp_path, prompts=PROMPTS[::-1])["chains"] == 25
    expect_each_once(tmp_path)


def test_the_rate_of_new_violations_on_principles_not_drawn(tmp_path):
    late = lambda principle, request, verifying, b: (  # noqa: E731
        "violates"
        if verifying and FINAL_TEXT in request and principle == "kind"
        else honest(principle, request, verifying, b)
    )
    figures = generate(tmp_path, answer=script(critic=late), draw=1, verify_all=True)
    undrawn = sum("kind" not in row["principles"] for row in rows(tmp_path))
    assert 0 < undrawn < 25
    assert figures["new_violation_rate"] == pytest.approx(undrawn / 25)


@pytest.mark.parametrize("unread", ["unparsed", EngineFailedError("dead")])
def test_a_final_text_not_judged_to_the_end_is_no_clean_one(tmp_path, unread):
    """Half an answer on the undrawn principles says nothing of new violations."""
    wild = lambda principle, request, verifying, b: (  # noqa: E731
        unread if verifying and principle == "kind" else honest(principle, request, verifying, b)
    )
    figures = generate(tmp_path, answer=script(critic=wild), draw=1, verify_all=True)
    assert figures["new_violation_rate"] is None or all("kind" in row["principles"] for row in judged(tmp_path))
    for row in rows(tmp_path):
        assert set(row["verified"]) == {verdict["principle"] for verdict in row["final_verdicts"]}


def test_a_fault_that_the_draft_had_is_not_new(tmp_path):
    late = lambda principle, request, verifying, b: (  # noqa: E731
        "violates"
        if verifying and FINAL_TEXT in request and principle == "kind"
        else honest(principle, request, verifying, b)
    )
    generate(tmp_path, answer=script(critic=late), draw=1, verify_all=True)
    for words, share in ((DRAFT_TEXT, 0.0), ("in neither text", None)):
        held = [
            principle.model_copy(update={"check": Check(forbid=(re.escape(words),))})
            for principle in CONSTITUTION.principles
        ]
        figures = count_outcomes(tmp_path, CONSTITUTION.model_copy(update={"principles": tuple(held)}))
        assert figures["new_violation_rate"] == share if share is not None else figures["new_violation_rate"] > 0


def test_another_draft_excuses_no_fault_of_the_chosen_one(tmp_path):
    """Of a group the chosen text is no rewrite of the rejected one."""
    late = lambda principle, request, verifying, b: (  # noqa: E731
        "violates"
        if verifying and FINAL_TEXT in request and principle == "kind"
        else honest(principle, request, verifying, b)
    )
    generate(tmp_path, answer=script(draft=[DRAFT_TEXT, FINAL_TEXT] * 25, critic=late), draw=1, verify_all=True,
             strategy="best_of_n", drafts=2, in_flight=1)  # fmt: skip
    held = [one.model_copy(update={"check": Check(forbid=(re.escape(DRAFT_TEXT),))}) for one in CONSTITUTION.principles]
    figures = count_outcomes(tmp_path, CONSTITUTION.model_copy(update={"principles": tuple(held)}))
    undrawn = sum("kind" not in row["principles"] for row in judged(tmp_path))
    assert undrawn > 0 and figures["new_violation_rate"] == pytest.approx(undrawn / len(judged(tmp_path)))


def test_held_out_pairs_are_counted_apart(tmp_path):
    prompts = [prompt("a?", split="validation"), prompt("b?"), prompt("c?")]
    figures = generate(tmp_path, prompts=prompts, answer=script())
    assert (figures["pairs"], figures["validation_pairs"]) == (3, 1)


def test_a_write_that_fails_leaves_the_rows_before_it(tmp_path, monkeypatch):
    append, written = RowStore.append, []

    def refuse(self, row):
        if len(written) == 12:
            raise StageError("the disk is full")
        append(self, row)
        written.append(row.id)

    monkeypatch.setattr(RowStore, "append", refuse)
    with pytest.raises(StageError, match="the disk is full"):
        generate(tmp_path)
    assert sorted(row["id"] for row in rows(tmp_path)) == sorted(written)
    monkeypatch.undo()
    generate(tmp_path)
    expect_each_once(tmp_path)


CRASHING = """
import json, sys
from pathlib import Path
import records.store
records.store.RowStore.__init__.__kwdefaults__["rows_per_shard"] = 4
from tests.forked import forked
from tests.generator.test_generate import generate
generate(Path(sys.argv[1]) / "warm")
for name, points in json.loads(sys.argv[2]).items():
    for point in points:
        forked(name, point, lambda: generate(Path(sys.argv[1]) / name))
"""
# Of a file's passings the first two are the cards, the next two those that name Parquet.
PASSINGS = {"compact-begun": (1,), "compact-ended": (1,), "file-before-rename": (1, 3), "file-after-rename": (2, 4)}
CRASHES = {f"{point}-{nth}": [f"{point}:{nth}", ""] for point in PASSED for nth in PASSINGS.get(point, (1, 2))}
CRASHES["all-of-compaction"] = [
    *(point for point in PASSED if point.startswith(("parquet-", "lines-", "compact-"))),
    "",
]
CRASHES["again-and-again"] = ["row-torn:3", "row-after:5", "shard-roll", "row-torn", "row-before:2", ""]


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """A folder for each entry of CRASHES, and the exit codes of its runs."""
    folder = tmp_path_factory.mktemp("crashes")
    codes, errors = crash_runs(CRASHING, folder, CRASHES)
    assert codes.keys() == CRASHES.keys(), errors
    return folder, codes, errors


@pytest.mark.parametrize("name", CRASHES)
def test_killed_at_any_boundary_every_row_is_there_once(crashed, name):
    folder, codes, errors = crashed
    *kills, last = codes[name]
    assert kills == [-signal.SIGKILL] * (len(CRASHES[name]) - 1), f"the point was not passed {errors}"
    assert last == 0, errors
    expect_each_once(folder / name)
    assert {path.suffix for path in (folder / name).rglob("part-*")} == {".parquet"}
    assert not list((folder / name).rglob(".part-*"))
    assert {row["reason"] for row in read_rows(folder / name / "rejects")} == {"complies"}
    for row in read_rows(folder / name / "pairs"):
        Pair.model_validate(row)


def test_every_boundary_is_crashed_at_here_or_written_by_another_stage():
    assert {name.rpartition("-")[0] for name in CRASHES} >= {*PASSED} and len(PASSED) >= 10
    assert {*CRASH_POINTS} - {*PASSED} == {point for point in CRASH_POINTS if point.startswith(ELSEWHERE)}
