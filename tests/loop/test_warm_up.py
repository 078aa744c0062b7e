"""The supervised stage through the real stack, killed on its way: its policy is the one that drafts round 0."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from records.digest import adapter_digest
from records.store import read_rows
from tests.loop.real_run import outcome_of, run_command, write_run

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

SETTINGS = {
    "rounds": 1,
    "train": {"warm_up": "sft", "start_from": "previous", "reference": "initial", "epochs": 1},
    "warm_up": {"learning_rate": 2e-3, "epochs": 4, "rows_per_step": 8},
    "evaluate": {"drafts": 1, "sway_drafts": 0, "max_prompts": 8},
}


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_warm_up_killed_as_its_adapter_is_there_is_done_again_and_its_policy_is_handed_on(tmp_path: Path) -> None:
    cwd = write_run(tmp_path, **SETTINGS)
    run, warm_up = cwd / "outputs" / "small", cwd / "outputs" / "small" / "warm_up"
    status, out, err = outcome_of(
        run_command("run", "small.yaml", cwd=cwd, CONSTITUTE_CRASH_AT="adapter-after-rename"), 300
    )
    assert status != 0, out + err
    assert (warm_up / "adapter" / "adapter_model.safetensors").exists()
    assert not (warm_up / "train.done.json").exists()
    pairs = list(read_rows(warm_up / "pairs"))
    process = run_command("run", "small.yaml", cwd=cwd)
    deadline = time.monotonic() + 500
    while not (run / "round_00" / "train.done.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    asked = time.monotonic()
    process.terminate()  # the last evaluation has nothing to add here
    status, out, err = outcome_of(process, 60)
    assert status == 143, out + err
    assert time.monotonic() - asked < 10
    assert "run the same command again to go on" in err
    status, out, _ = outcome_of(run_command("report", "small", cwd=cwd), 60)
    assert status == 0, out

    assert list(read_rows(warm_up / "pairs")) == pairs, "what was drafted before the kill is kept"
    trained = read(warm_up / "train.done.json")["outputs"]
    assert trained["rows"] == sum(row["split"] == "train" for row in pairs) > 8
    assert f"sft warm_up/adapter: {trained['steps']}/{trained['steps']}" in err
    assert {row["provenance"]["policy"]["adapter_digest"] for row in pairs} == {""}

    digest = adapter_digest(warm_up / "adapter")
    hand_off = read(run / "round_00" / "evaluation.json")["hand_off"]
    assert (hand_off["outcome"], hand_off["adapter_digest"]) == ("proven", digest)
    drafted = [row for kind in ("pairs", "rejects") for row in read_rows(run / "round_00" / kind)]
    assert {row["provenance"]["policy"]["adapter_digest"] for row in drafted} == {digest}
    assert {row["provenance"]["critic"]["adapter_digest"] for row in drafted} == {""}
    training = read(run / "report.json")["rounds"][0]["training"]
    assert (training["reference_digest"], training["start_digest"]) == (digest, digest)
    assert training["first_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert "warm-up" in (run / "report.md").read_text(encoding="utf-8")
