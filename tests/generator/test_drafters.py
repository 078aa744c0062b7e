"""Who drafts: drawn for each draft by its share, the same whenever the run is repeated, and named on the row."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from generator.engine import Adapter
from generator.figures import count_outcomes
from generator.generate import run_one
from generator.method import DRAFT
from records.rows import Pair
from tests.generator.test_generate import generate, rows
from tests.generator.toy import ADAPTER, CONSTITUTION, DRAFT_TEXT, FINAL_TEXT, method_of, prompt, provenance, script

OLDER = Adapter(Path("older"), "b" * 64)
SHARES = {"": 0.2, OLDER.digest: 0.3, ADAPTER.digest: 0.5}


def mixed(answer=None, **settings):
    """A method whose drafts come from the base, an older policy and the round's."""
    method = method_of(answer or script(draft=[DRAFT_TEXT, FINAL_TEXT] * 50), **settings)
    adapters = {"": None, OLDER.digest: OLDER, ADAPTER.digest: ADAPTER}
    seats = [(share, replace(method.policy, adapter=adapters[digest])) for digest, share in SHARES.items()]
    return replace(method, drafters=tuple(seats))


def drawn(method, prompts=4000, number=0):
    return [method.drafter(f"prompt-{n}", number).author.adapter_digest for n in range(prompts)]


def test_drafters_have_their_shares_and_the_draw_depends_on_seed_round_prompt_and_number_alone():
    first = drawn(mixed())
    counts = Counter(first)
    assert {name: counts[name] / 4000 for name in SHARES} == pytest.approx(SHARES, abs=0.03)
    assert drawn(mixed(asks=2)) == first
    others = [drawn(mixed(), number=1), drawn(mixed(seed=1)), drawn(mixed(provenance=provenance(round=1)))]
    assert all(other != first for other in others)
    # Independent of each other: a prompt's second draft is by whom it is by, whoever wrote the first.
    both = Counter(zip(first, others[0], strict=True))
    assert both["", ADAPTER.digest] / 4000 == pytest.approx(0.1, abs=0.02)


def test_without_shares_the_policy_of_the_round_drafts():
    method = method_of(script())
    assert {method.drafter(str(n), 0).author.adapter_digest for n in range(50)} == {ADAPTER.digest}


def test_each_draft_is_written_by_whom_the_row_names(tmp_path):
    method = mixed()
    row = asyncio.run(run_one(prompt(), 0, replace(method, strategy="best_of_n", drafts=8)))
    authors = [candidate.draft.author.adapter_digest for candidate in row.candidates]
    calls = [call.adapter.digest if call.adapter else "" for call in method.policy.engine.calls if call.stage == DRAFT]
    assert authors == calls == [method.drafter(row.prompt_id, n).author.adapter_digest for n in range(8)]
    assert len(set(authors)) > 1
    assert isinstance(row, Pair)
    sides = {one.side: one.draft.author for one in row.candidates if one.side}
    assert row.authors == (sides["chosen"], sides["rejected"])
    assert {call.adapter for call in method.policy.engine.calls if call.stage != DRAFT} == {None}


def test_a_stage_that_goes_on_draws_the_same_drafters(tmp_path, monkeypatch):
    answer = script(draft=lambda text: DRAFT_TEXT)
    monkeypatch.setattr("tests.generator.test_generate.method_of", lambda *_, **more: replace(mixed(answer), **more))
    generate(tmp_path / "one", drafts=3)
    generate(tmp_path / "two", drafts=1)
    figures = generate(tmp_path / "two", drafts=3)
    authors = [
        {row["id"]: row["draft"]["author"]["adapter_digest"] for row in rows(tmp_path / name)}
        for name in ("one", "two")
    ]
    assert authors[0] == authors[1] and len(authors[0]) == 75
    counted = Counter(digest or "base" for digest in authors[0].values())
    assert figures["drafts_by_adapter"] == counted and set(counted) == {"base", OLDER.digest, ADAPTER.digest}
    assert count_outcomes(tmp_path / "two", CONSTITUTION)["drafts_by_adapter"] == counted
    assert {row["provenance"]["policy"]["adapter_digest"] for row in rows(tmp_path / "one")} == {""}
