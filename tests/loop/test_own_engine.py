"""Two real vLLM engines in one stage: the policy's, and one of its own for a critic that is another model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.loop.real_run import outcome_of, run_command, write_run
from tests.loop.scripted_run import rows
from tests.tracked import ROOT

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]


def test_a_critic_in_an_engine_of_its_own_judges_the_drafts_of_another(tmp_path: Path) -> None:
    world = write_run(
        tmp_path,
        rounds=1,
        prompts_per_round=12,
        validation_prompts=0,
        critic_model={"model": "judge", "engine": {"context": 1024, "eager": True, "cache_gib": 0.25}},
    )
    shutil.copytree(ROOT / "demo" / "model", world / "judge")
    status, out, err = outcome_of(run_command("generate", "small.yaml", cwd=world), 500)
    assert status == 0, out + err
    found = rows(world / "outputs" / "small" / "round_00")
    assert len(found) == 12
    policy, critic = (found[0]["provenance"][role]["model"] for role in ("policy", "critic"))
    assert (policy, critic) == (str(ROOT / "demo" / "model"), "judge")
    judged = [entry["verdict"] for row in found for entry in row["trail"] if entry["verdict"]]
    assert judged.count("unparsed") < len(judged) / 4
    assert [row for row in found if "chosen" in row], [row.get("reason") for row in found]
    marker = json.loads((world / "outputs" / "small" / "round_00" / "generate.done.json").read_text())
    assert marker["inputs"]["critic_model"]["model"] == marker["inputs"]["model"]
