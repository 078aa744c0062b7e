"""`constitute generate` under every strategy, with a scripted engine: rows, figures, and who the rows name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from generator.config import VerifyConfig
from tests.loop.scripted_run import CHAINS, constitute, rows, write_world

GROUPS = ("best_of_n", "ai_feedback", "rating")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("strategies"))


def generate(world: Path, name: str, *settings: str) -> tuple[list[dict], dict, str]:
    """The rows of a round, the outputs in its marker, and what the command said."""
    done = constitute("generate", "run.yaml", *settings, "--run", name, cwd=world, SCRIPTED_VARIED="1")
    assert done.returncode == 0, done.stderr
    folder = world / "outputs" / name / "round_00"
    return rows(folder), json.loads((folder / "generate.done.json").read_text())["outputs"], done.stderr


@pytest.mark.parametrize("strategy", GROUPS)
def test_a_group_of_drafts_is_one_row_with_all_that_decided_it(world: Path, strategy: str) -> None:
    margin = ("generate.rating.margin=2",) if strategy == "rating" else ()
    found, outputs, told = generate(
        world, strategy, f"generate.strategy={strategy}", "generate.drafts_per_prompt=3", *margin
    )
    assert len(found) == len({row["prompt_id"] for row in found}) == CHAINS == outputs["chains"]
    assert f"{CHAINS}/{CHAINS}" in told
    assert outputs["by_strategy"] == {strategy: {"chains": CHAINS, "pairs": outputs["pairs"]}}
    assert outputs["drafts"] == 3 * CHAINS and outputs["drafts_by_adapter"] == {"base": 3 * CHAINS}
    pairs = [row for row in found if "chosen" in row]
    assert len(pairs) == outputs["pairs"] > CHAINS / 2
    assert all("idiot" in row["rejected"][0]["content"] and "Gladly" in row["chosen"][0]["content"] for row in pairs)
    assert {row["strategy"] for row in found} == {strategy}
    assert outputs["compared"] == (sum(bool(row["judgements"]) for row in found) if strategy == "ai_feedback" else 0)
    judge = {(row["provenance"]["judge"] or {}).get("model") for row in found}
    assert judge == ({None} if strategy == "best_of_n" else {"model"})


def test_drafts_passes_and_the_gate_reach_the_chains(world: Path) -> None:
    settings = ("generate.drafts_per_prompt=2", "generate.passes=2", "generate.judge.at_least=win")
    found, outputs, told = generate(world, "revision", *settings)
    assert len(found) == 2 * CHAINS and f"{2 * CHAINS}/{2 * CHAINS}" in told
    pairs = [row for row in found if "chosen" in row]
    assert {judgement["a"] for row in pairs for judgement in row["judgements"]} == {"draft", "final"}
    assert outputs["compared"] == len(pairs) > 0
    # A second pass over the one principle looks at the rewrite again.
    assert all([entry["kind"] for entry in row["trail"]].count("recheck") == 1 for row in pairs)
    assert {row["provenance"]["judge"]["model"] for row in found} == {"model"}


def test_questions_about_drafts_alone_reach_the_chains_and_leave_other_runs_digests_as_they_were(world: Path) -> None:
    done = constitute("generate", "run.yaml", "generate.verify.draft_asks=3", "--run", "asked", cwd=world)
    assert done.returncode == 0, done.stderr
    pairs = [row for row in rows(world / "outputs" / "asked" / "round_00") if "chosen" in row and row["violated"]]
    assert pairs and {(len(row["draft_verdicts"]), len(row["final_verdicts"])) for row in pairs} == {(3, 1)}
    assert VerifyConfig().model_dump(mode="json") == {"principles": "drawn", "asks": 1}
    assert VerifyConfig(draft_asks=3).model_dump(mode="json")["draft_asks"] == 3


def test_a_run_of_groups_goes_on_under_the_same_settings_and_stops_under_others(world: Path) -> None:
    settings = ("generate.strategy=rating", "generate.drafts_per_prompt=2")
    found, _, _ = generate(world, "again", *settings)
    assert generate(world, "again", *settings)[0] == found
    refused = constitute("generate", "run.yaml", *settings, "generate.rating.margin=3", "--run", "again", cwd=world)
    assert refused.returncode == 2
    assert 'generate.rating: was null, now {"margin": 3}' in refused.stderr


def test_the_warm_up_revises_whatever_the_rounds_do(world: Path) -> None:
    """It trains on revisions; too few of them here, so that the loop ends before any training."""
    settings = ("generate.strategy=ai_feedback", "generate.drafts_per_prompt=3", "train.warm_up=sft")
    done = constitute("run", "run.yaml", *settings, "--run", "warm", cwd=world, SCRIPTED_VARIED="1")
    assert done.returncode == 0, done.stderr
    found = rows(world / "outputs" / "warm" / "warm_up")
    assert len(found) == CHAINS
    assert {row["strategy"] for row in found} == {"revision"} and not any(row["candidates"] for row in found)
    assert {row["provenance"]["judge"] for row in found} == {None}
