"""A training that is killed on its way goes on with the same command, and with no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.loop.scripted_run import constitute, write_world
from tests.loop.test_own_pairs import FAST, turn, write_pairs

SETTINGS = (*FAST, "train.checkpoint_every=1", "train.epochs=2")


@pytest.mark.model
def test_the_same_command_goes_on_from_the_checkpoint_and_other_settings_are_refused(tmp_path: Path) -> None:
    world = write_world(tmp_path)
    good, bad = turn("assistant", "Well."), turn("assistant", "Bad.")
    own = write_pairs(
        world, [{"prompt": turn("user", f"how is {n}"), "chosen": good, "rejected": bad} for n in range(12)]
    )
    round_0 = world / "outputs" / "run" / "round_00"

    killed = constitute("train", "run.yaml", own, *SETTINGS, cwd=world, CONSTITUTE_CRASH_AT="checkpoint-after-rename:4")
    assert "stage train of round 0 was killed" in killed.stderr and killed.returncode == 2
    assert (round_0 / "checkpoint" / "step-00000004" / "tensors.safetensors").is_file()
    assert not (round_0 / "adapter").exists()

    refused = constitute("train", "run.yaml", own, *SETTINGS, "train.beta=0.2", cwd=world)
    assert refused.returncode == 2 and "train.beta: was 0.1, now 0.2" in refused.stderr
    assert (round_0 / "checkpoint" / "step-00000004").is_dir(), "nothing is lost by asking"

    done = constitute("train", "run.yaml", own, *SETTINGS, "train.checkpoint_every=2", cwd=world)
    assert done.returncode == 0, done.stderr
    assert "train round_00: goes on after optimizer step 4" in done.stderr
    lines = [json.loads(line) for line in (round_0 / "training.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert json.loads((round_0 / "train.done.json").read_text())["outputs"]["steps"] == 6
    assert not (round_0 / "checkpoint").exists() and (round_0 / "adapter").is_dir()
