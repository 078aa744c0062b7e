"""`constitute train` on anybody's preference data: no engine runs, the held-out prompts of the run stay held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loop.config import load_run_config
from loop.folder import RunFolder
from loop.inputs import held_out_prompts, open_run
from tests.loop.scripted_run import constitute, write_world
from tests.tracked import ROOT

MODEL = f"model={ROOT / 'demo' / 'model'}"
FAST = (MODEL, "engine.context=1024", "train.learning_rate=1e-3", "train.pairs_per_step=4", "train.lora.r=8")


def turn(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def write_pairs(world: Path, rows: list[dict[str, Any]]) -> str:
    (world / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "train.pairs_from=[own.jsonl]"


@pytest.mark.model
def test_train_alone_takes_standard_and_conversational_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = write_world(tmp_path)
    monkeypatch.chdir(world)
    opened = open_run(load_run_config(world / "run.yaml", [MODEL, "engine.context=1024"]), RunFolder(world / "unused"))
    held_out = opened.prompts.of("test")[0].messages[0].content
    good, bad = turn("assistant", "Well."), turn("assistant", "Bad.")
    rows: list[dict[str, Any]] = [
        {"prompt": turn("user", f"how is {number}"), "chosen": good, "rejected": bad} for number in range(6)
    ]
    rows += [{"prompt": f"plain {number}: ", "chosen": "well", "rejected": "bad"} for number in range(6)]
    rows.append({"id": "leak", "prompt": f"{held_out}!", "chosen": "well", "rejected": "bad"})
    done = constitute("train", "run.yaml", write_pairs(world, rows), *FAST, cwd=world)
    assert done.returncode == 0, done.stderr
    round_0 = world / "outputs" / "run" / "round_00"
    assert (round_0 / "adapter" / "adapter_model.safetensors").is_file()
    trained = json.loads((round_0 / "train.done.json").read_text())["outputs"]
    assert (trained["pairs"], trained["held_out"]) == (12, 1)
    assert json.loads((round_0 / "left_out.json").read_text()) == {
        "too_long": [], "same_tokens": [], "held_out": ["leak"], "contradictory": []
    }  # fmt: skip
    assert "starting vLLM" not in done.stderr
    rows[0]["chosen"] = turn("assistant", "Otherwise.")
    refused = constitute("train", "run.yaml", write_pairs(world, rows), *FAST, cwd=world)
    assert refused.returncode == 2 and "pairs_from" in refused.stderr, "other pairs are other inputs"


def test_a_dataset_without_the_columns_is_told_before_anything_runs(tmp_path: Path) -> None:
    world = write_world(tmp_path)
    rows = [{"question": "a", "answer": "b"}, {"prompt": "a", "chosen": "b", "rejected": "b"}]
    for verb in ("run", "train"):
        refused = constitute(verb, "run.yaml", write_pairs(world, rows), cwd=world)
        assert refused.returncode == 2 and "Traceback" not in refused.stderr
        assert "own.jsonl: row 1: no column chosen and no column rejected (found question, answer)" in refused.stderr
        assert "row 2: chosen equals rejected" in refused.stderr
        assert "starting vLLM" not in refused.stderr
    missing = constitute("train", "run.yaml", "train.pairs_from=[nowhere.jsonl]", cwd=world)
    assert missing.returncode == 2 and "nowhere.jsonl: there are no pairs here" in missing.stderr
    assert not list((world / "outputs").rglob("*.started.json"))


def test_validation_and_test_prompts_are_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_world(tmp_path))
    run = open_run(load_run_config(Path("run.yaml")), RunFolder(tmp_path / "run"))
    held_out = held_out_prompts(run)
    for prompt in run.prompts.prompts:
        assert (prompt.messages in held_out) == (prompt.split != "train")
