"""The generate stage with several drafts of a prompt: how many chains that is, and rows from before that."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from generator.config import JudgeConfig
from generator.figures import count_outcomes
from records.rows import Pair, Reject
from records.store import read_rows
from tests.generator.test_generate import PROMPTS, expect_each_once, generate, mixed, rows
from tests.generator.toy import ADAPTER, CONSTITUTION, DRAFT_TEXT, FINAL_TEXT, provenance, script
from tests.scripted import author_of


def test_each_draft_of_a_prompt_is_a_chain_of_its_own(tmp_path):
    """Stopped after the first draft of every prompt, the stage goes on with the others."""
    first = generate(tmp_path / "one")
    figures = generate(tmp_path / "three", answer=script(draft=mixed), drafts=3)
    assert (first["chains"], figures["chains"]) == (25, 75)
    assert figures["chains"] == figures["pairs"] + sum(figures["rejects"].values()) == 3 * first["chains"]
    assert Counter(row["prompt_id"] for row in rows(tmp_path / "three")) == {prompt.id: 3 for prompt in PROMPTS}
    assert {row["id"] for row in rows(tmp_path / "three")} == {f"{p.id}-00-{n}" for p in PROMPTS for n in range(3)}
    calls = []
    counting = lambda text, call: calls.append(call.stage) or script(draft=mixed)(text, call)  # noqa: E731
    assert generate(tmp_path / "one", drafts=3, answer=counting)["chains"] == 75
    assert calls.count(0) == 50


@pytest.mark.parametrize("strategy", ["best_of_n", "ai_feedback", "rating"])
def test_a_group_of_drafts_is_one_chain(tmp_path, strategy):
    """A tie, a repeated draft or a pair: each prompt has one row, and every draft is on it."""
    seen = Counter()

    def draft(text):
        seen[text] += 1
        return [FINAL_TEXT, DRAFT_TEXT, "Boil it."][seen[text] - 1] if "number 1" in text else DRAFT_TEXT

    settings = {"strategy": strategy, "drafts": 3, "gate": JudgeConfig()}
    figures = generate(tmp_path, answer=script(draft=draft, judge=lambda a, b: "A"), **settings)
    expect_each_once(tmp_path)
    assert figures["chains"] == 25 == figures["pairs"] + sum(figures["rejects"].values())
    assert figures["by_strategy"] == {strategy: {"chains": 25, "pairs": figures["pairs"]}}
    assert figures["rejects"]["unchanged"] == 14 and figures["drafts"] == 75
    assert figures["drafts_left_out"]["repeated"] == 28
    if strategy == "ai_feedback":
        assert (figures["pairs"], figures["rejects"]["judge_disagrees"]) == (0, 11)
    else:
        assert (figures["pairs"], figures["compared"]) == (11, 11), "the gate takes a contradiction for a tie"
    assert figures["orders_disagree_rate"] == 1.0
    before, calls = rows(tmp_path), []
    generate(tmp_path, answer=lambda text, call: calls.append(text), **settings)
    assert rows(tmp_path) == before and not calls


LATER = {"strategy", "candidates", "judgements", "preference_probability"}


def older(row):
    """A row as it was before there were strategies."""
    row = {column: value for column, value in row.items() if column not in LATER}
    row["provenance"] = {key: value for key, value in row["provenance"].items() if key != "judge"}
    row["draft"] = {key: value for key, value in row["draft"].items() if key != "author"}
    row["trail"] = [{key: value for key, value in one.items() if key != "candidate"} for one in row["trail"]]
    return row


def test_rows_older_than_the_strategies_are_read_and_counted(tmp_path):
    now = generate(tmp_path / "now", provenance=provenance(policy=author_of("scripted", ADAPTER.digest)))
    for name, kind in (("pairs", Pair), ("rejects", Reject)):
        found = [older(row) for row in read_rows(tmp_path / "now" / name)]
        assert {kind.model_validate(row).strategy for row in found} == {"revision"}
        (tmp_path / "then" / name).mkdir(parents=True)
        (tmp_path / "then" / name / "part-00000.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in found))
    then = count_outcomes(tmp_path / "then", CONSTITUTION)
    assert then == {name: figure for name, figure in now.items() if name in then}


def test_a_stage_begun_by_an_earlier_release_goes_on_and_its_rows_load_together(tmp_path):
    import datasets

    generate(tmp_path / "then", prompts=PROMPTS[:10])
    shard = tmp_path / "then" / "pairs" / "part-00000.jsonl"
    found = [older(row) for row in read_rows(shard.parent)]
    shard.write_text("".join(f"{json.dumps(row)}\n" for row in found))
    card = shard.parent / "README.md"
    known = [line for line in card.read_text().splitlines(keepends=True) if "preference_probability" not in line]
    card.write_text("".join(known))
    figures = generate(tmp_path / "then")
    loaded = datasets.load_dataset(str(shard.parent), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == figures["pairs"] > len(found) > 0
    assert "preference_probability" in card.read_text() and "strategy" in loaded.column_names
    card.write_text(card.read_text() + "A word of my own.\n")
    generate(tmp_path / "then")
    assert card.read_text().endswith("A word of my own.\n")


def test_chains_of_one_prompt_draw_principles_each_for_itself(tmp_path):
    generate(tmp_path, drafts=4, draw=1)
    drawn = {}
    for row in rows(tmp_path):
        drawn.setdefault(row["prompt_id"], set()).add(row["principles"][0])
    assert len({tuple(sorted(found)) for found in drawn.values()}) > 1
    assert sum(len(found) > 1 for found in drawn.values()) > 15
