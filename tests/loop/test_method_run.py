"""One `constitute run` through the real stack whose rounds are supervised and gated by a reward model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from records.digest import adapter_digest
from records.store import read_rows
from tests.loop.real_run import RUN, outcome_of, run_command, write_run

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

SETTINGS = {
    "rounds": 1,
    "train": {"method": "sft", "reward_gate": {"keep_share": 0.9}, "learning_rate": 2e-3},
    "reward": {"learning_rate": 3e-3, "pairs_per_step": 8, "pairs_per_micro_batch": 8, "lora": {"r": 8, "alpha": 16}},
    "evaluate": {"drafts": 1, "sway_drafts": 0, "max_prompts": 12},
}


def test_a_round_is_rewarded_gated_learned_proven_and_told(tmp_path: Path) -> None:
    cwd = write_run(tmp_path, **SETTINGS)
    settings = (cwd / "small.yaml").read_text()
    assert "beta: 0.3" in settings and RUN["train"]["beta"] == 0.3
    refused, _, told = outcome_of(run_command("run", "small.yaml", cwd=cwd), 60)
    assert refused == 2 and "method is sft, which makes no use of beta (0.3)" in told
    (cwd / "small.yaml").write_text(settings.replace("  beta: 0.3\n", ""))
    status, out, err = outcome_of(run_command("run", "small.yaml", cwd=cwd), 800)
    assert status == 0, out + err

    run = cwd / "outputs" / "small"
    round_0 = run / "round_00"
    pairs = {row["id"]: row["split"] for row in read_rows(round_0 / "pairs")}
    rewarded = {row["id"]: row["split"] for row in read_rows(round_0 / "rewards")}
    assert rewarded == pairs and len(pairs) > 10
    entry, last = json.loads((run / "report.json").read_text())["rounds"]
    training, reward = entry["training"], entry["reward"]
    assert training["method"] == "sft" and training["pairs"] + training["low_reward"] == reward["pairs"]
    assert training["low_reward"] == len(json.loads((round_0 / "left_out.json").read_text())["low_reward"]) >= 1
    digest = adapter_digest(round_0 / "adapter")
    assert training["adapter_digest"] == last["policy"]["adapter_digest"] == digest
    assert last["evaluation"]["hand_off"]["outcome"] in ("proven", "undecidable")
    assert last["evaluation"]["hand_off"]["adapter_digest"] == digest
    told = (run / "report.md").read_text()
    assert "## Reward models" in told and "left out" in told and "| 0 | sft | previous |" in told
