"""`constitute reward` and what `train` does with its rows: real TRL on the demo's model, no engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from records.digest import adapter_digest
from records.store import read_rows
from tests.loop.scripted_run import constitute, write_world
from tests.tracked import ROOT

pytestmark = pytest.mark.model

# Room for the drafts, the settings of so small a model, and little to do.
FAST = (
    f"model={ROOT / 'demo' / 'model'}", "engine.context=1024", "train.max_tokens=64", "train.pairs_from=[own.jsonl]",
)  # fmt: skip
REWARD = ("reward.learning_rate=3e-3", "reward.pairs_per_step=4", "reward.lora.r=8", "reward.epochs=2")
TRAIN = ("train.learning_rate=1e-3", "train.pairs_per_step=4", "train.lora.r=8")
GATE = "train.reward_gate={keep_share: 0.5}"


def world(folder: Path) -> Path:
    write_world(folder)
    rows: list[dict[str, Any]] = [
        {"id": f"own-{number}", "prompt": f"how is {number}? ", "chosen": "Well.", "rejected": "Bad, you idiot."}
        for number in range(12)
    ]
    rows.append({"id": "long", "prompt": "how long? ", "chosen": "Well. " * 60, "rejected": "Bad."})
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def ids(round_0: Path) -> list[str]:
    return sorted(row["id"] for row in read_rows(round_0 / "rewards"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world in which stage reward was done, and then a training with a gate."""
    folder = world(tmp_path_factory.mktemp("reward"))
    early = constitute("train", "run.yaml", *FAST, *TRAIN, GATE, cwd=folder)
    assert early.returncode == 2 and "stage reward is not done" in early.stderr, early.stderr
    assert "`constitute reward CONFIG --round 0` first" in early.stderr
    done = constitute("reward", "run.yaml", *FAST, *REWARD, GATE, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "reward of round 0 is done" in done.stdout
    assert "Round 0, 12 pairs: the chosen answer has the higher reward in 100 %" in done.stderr
    trained = constitute("train", "run.yaml", *FAST, *REWARD, *TRAIN, GATE, cwd=folder)
    assert trained.returncode == 0, trained.stderr
    return folder


def test_each_pair_has_its_row_and_the_figures_are_in_the_marker_and_the_report(made: Path) -> None:
    round_0 = made / "outputs" / "run" / "round_00"
    figures = read(round_0 / "reward.done.json")["outputs"]
    assert (figures["pairs"], figures["too_long"]) == (12, 1)
    assert ids(round_0) == sorted(f"own-{number}" for number in range(12))
    assert read(round_0 / "reward_left_out.json")["too_long"] == ["long"]
    assert figures["reward_model_digest"] == adapter_digest(round_0 / "reward_model")
    assert figures["unseen_accuracy"] == 1.0
    assert figures["shortcuts"]["length_auc"] == 0.0, "the shorter answer is always the chosen one"


def test_the_gate_trains_on_the_best_half_and_lists_the_rest(made: Path) -> None:
    round_0 = made / "outputs" / "run" / "round_00"
    margins = {row["id"]: row["margin"] for row in read_rows(round_0 / "rewards")}
    trained, left_out = read(round_0 / "train.done.json"), read(round_0 / "left_out.json")
    assert (trained["outputs"]["pairs"], trained["outputs"]["low_reward"]) == (6, 6)
    assert left_out["too_long"] == ["long"]
    kept = margins.keys() - set(left_out["low_reward"])
    assert min(margins[id] for id in kept) >= max(margins[id] for id in left_out["low_reward"])
    assert trained["inputs"]["rewards"]


def test_the_same_command_does_nothing_and_other_settings_are_refused(made: Path) -> None:
    round_0 = made / "outputs" / "run" / "round_00"
    before = {path: path.stat().st_mtime_ns for path in round_0.rglob("*") if path.is_file()}
    again = constitute("reward", "run.yaml", *FAST, *REWARD, *TRAIN, GATE, cwd=made)
    assert again.returncode == 0, again.stderr
    refused = constitute("reward", "run.yaml", *FAST, *REWARD, *TRAIN, GATE, "reward.folds=3", cwd=made)
    assert refused.returncode == 2 and "reward.folds: was 2, now 3" in refused.stderr
    assert "--redo reward@0" in refused.stderr
    # What no policy and no weight depends on may change.
    assert (
        constitute("train", "run.yaml", *FAST, *REWARD, *TRAIN, GATE, "train.shortcut_pairs=0", cwd=made).returncode
        == 0
    )
    other = constitute("train", "run.yaml", *FAST, *REWARD, *TRAIN, "train.reward_gate={keep_share: 0.9}", cwd=made)
    assert other.returncode == 2 and "train.reward_gate.keep_share: was 0.5, now 0.9" in other.stderr
    assert {path: path.stat().st_mtime_ns for path in round_0.rglob("*") if path.is_file()} == before


def test_a_training_on_rewards_that_were_made_anew_is_stale(made: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    (folder / "outputs" / "run" / "round_00" / "rewards" / "part-00000.jsonl").write_text("{}\n")
    refused = constitute("train", "run.yaml", *FAST, *REWARD, *TRAIN, GATE, cwd=folder)
    assert refused.returncode == 2 and "stage train was made from other inputs" in refused.stderr
    assert "rewards: was" in refused.stderr


def soaks(*points: str) -> list[Any]:
    return [pytest.param(point, marks=pytest.mark.soak) for point in points]


@pytest.mark.parametrize(
    "point", ["row-torn:5", *soaks("adapter-after-rename:2", "row-after:7", "marker-before", "marker-after")]
)
def test_a_crash_anywhere_is_made_good_by_the_same_command(tmp_path: Path, point: str) -> None:
    folder = world(tmp_path)
    command = ("reward", "run.yaml", *FAST, *REWARD, "reward.epochs=1")
    crashed = constitute(*command, cwd=folder, CONSTITUTE_CRASH_AT=point)
    assert crashed.returncode == 2 and "SIGKILL" in crashed.stderr, crashed.stderr
    round_0 = folder / "outputs" / "run" / "round_00"
    if "marker-after" not in point:
        assert not (round_0 / "reward.done.json").exists()
        other = constitute(*command, "seed=1", cwd=folder)
        assert other.returncode == 2 and "seed: was 0, now 1" in other.stderr, "what was begun is not gone on with"
    done = constitute(*command, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert ids(round_0) == sorted(f"own-{number}" for number in range(12))
    assert {path.name for path in round_0.iterdir()} == {
        "reward.done.json", "reward_folds", "reward_left_out.json", "reward_model", "reward_training.jsonl", "rewards"
    }  # fmt: skip
    by = {row["reward_model"] for row in read_rows(round_0 / "rewards")}
    assert by == {adapter_digest(round_0 / "reward_folds" / name) for name in "01"}


def test_train_with_method_reward_trains_a_reward_model_alone_and_run_refuses_it(tmp_path: Path) -> None:
    folder = world(tmp_path)
    settings = (*FAST, *REWARD, "train.method=reward")
    refused = constitute("run", "run.yaml", *settings, cwd=folder)
    assert refused.returncode == 2 and "trains no policy for a next round" in refused.stderr
    done = constitute("train", "run.yaml", *settings, cwd=folder)
    assert done.returncode == 0, done.stderr
    round_0 = folder / "outputs" / "run" / "round_00"
    assert (round_0 / "reward_model" / "adapter_model.safetensors").is_file()
    assert len(ids(round_0)) == 12 and not (round_0 / "adapter").exists()
    useless = constitute("train", "run.yaml", *settings, "train.beta=0.3", "train.lora.r=8", cwd=folder)
    assert useless.returncode == 2 and "makes no use of beta (0.3), lora (r=8" in useless.stderr
