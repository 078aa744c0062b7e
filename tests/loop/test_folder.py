"""Markers, the lock and `redo` of a run folder, without any model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loop.folder import STAGES, WARM_UP, RunFolder, begin_stage, end_stage, redo
from records.errors import StageError, StaleStageError
from tests.tracked import ROOT

INPUTS = {"model": "abc", "train": {"beta": 0.1, "lora": {"r": 16}}}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def finish(folder: RunFolder, stage: str, index: int, inputs: dict | None = None) -> None:
    inputs = inputs or INPUTS
    assert begin_stage(folder, stage, index, inputs)
    end_stage(folder, stage, index, inputs, outputs={"pairs": 3}, seconds=1.0)


def files(folder: RunFolder) -> set[str]:
    return {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}


def test_a_stage_is_done_once_and_then_skipped(folder: RunFolder) -> None:
    assert folder.done("generate", 0) is None
    finish(folder, "generate", 0)
    assert not begin_stage(folder, "generate", 0, INPUTS)
    marker = folder.done("generate", 0)
    assert marker is not None
    assert (marker["inputs"], marker["outputs"], marker["seconds"]) == (INPUTS, {"pairs": 3}, 1.0)
    assert files(folder) == {"round_00/generate.done.json"}


def test_the_same_inputs_in_another_order_are_the_same(folder: RunFolder) -> None:
    finish(folder, "train", 0)
    assert not begin_stage(folder, "train", 0, dict(reversed(INPUTS.items())))


def test_other_inputs_are_an_error_that_names_them_and_three_ways_out(folder: RunFolder) -> None:
    finish(folder, "train", 1)
    before = (folder.path / "round_01" / "train.done.json").read_bytes()
    changed = {"model": "abc", "train": {"beta": 0.5, "lora": {"r": 16}}, "seed": 1}
    with pytest.raises(StaleStageError) as caught:
        begin_stage(folder, "train", 1, changed)
    told = str(caught.value)
    assert "round_01: stage train was made from other inputs" in told
    assert "train.beta: was 0.1, now 0.5" in told
    assert "seed: was null, now 1" in told
    assert "lora" not in told
    assert "model" not in told.replace(str(folder.path), "")
    assert "give the old settings again" in told
    assert "--redo train@1" in told
    assert "--run NAME" in told
    assert (folder.path / "round_01" / "train.done.json").read_bytes() == before


def test_a_stage_that_was_cut_short_is_not_gone_on_with_under_other_settings(folder: RunFolder) -> None:
    assert begin_stage(folder, "generate", 0, INPUTS)
    assert begin_stage(folder, "generate", 0, INPUTS)
    (folder.round(0) / "rejects").mkdir()
    (folder.round(0) / "rejects" / "part-00000.jsonl").write_text("{}\n")
    with pytest.raises(StaleStageError, match=r"model: was .abc., now .x."):
        begin_stage(folder, "generate", 0, {**INPUTS, "model": "x"})


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_failed_before_it_made_anything_takes_mended_settings(folder: RunFolder, stage: str) -> None:
    assert begin_stage(folder, stage, 0, INPUTS)
    (folder.round(0) / "pairs").mkdir()
    (folder.round(0) / "pairs" / "README.md").write_text("the card is no row")
    assert begin_stage(folder, stage, 0, {**INPUTS, "model": "x"})
    (folder.round(0) / "adapter").mkdir()
    for name in ("drafts", "rewards"):
        (folder.round(0) / name).mkdir()
    for name in ("drafts", "pairs", "rewards"):
        (folder.round(0) / name / "part-00000.jsonl").write_text("{}\n")
    with pytest.raises(StaleStageError, match=r"model: was .x., now .abc."):
        begin_stage(folder, stage, 0, INPUTS)


def test_a_marker_that_is_not_json_is_named(folder: RunFolder) -> None:
    finish(folder, "train", 0)
    folder.marker("train", 0).write_text("{")
    with pytest.raises(StageError, match=r"train\.done\.json: not JSON"):
        begin_stage(folder, "train", 0, INPUTS)


def whole_run(folder: RunFolder) -> None:
    for index in (WARM_UP, 0, 1, 2):
        for stage, output in (("evaluate", "evaluation.json"), ("generate", "pairs/part-00000.jsonl"), ("train", "")):
            if (index == WARM_UP and stage == "evaluate") or (index == 2 and stage != "evaluate"):
                continue
            written = [output] if output else ["adapter/adapter_model.safetensors", "training.jsonl", "probe.json"]
            for name in written:
                path = folder.round(index) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("{}")
            finish(folder, stage, index)
    (folder.path / "config.json").write_text("{}")
    (folder.path / "logs").mkdir()
    (folder.path / "logs" / "train_01.log").write_text("words")


def test_redo_takes_out_the_stage_and_all_after_it_and_nothing_else(folder: RunFolder) -> None:
    whole_run(folder)
    before = files(folder)
    redo(folder, "train", 0)
    gone = before - files(folder)
    assert gone == {
        name
        for name in before
        if name.startswith(("round_01/", "round_02/"))
        or name in {f"round_00/{own}" for own in ("adapter/adapter_model.safetensors", "training.jsonl", "probe.json")}
        or name == "round_00/train.done.json"
    }
    assert {"config.json", "logs/train_01.log", "warm_up/train.done.json", "round_00/generate.done.json"} <= files(
        folder
    )
    assert begin_stage(folder, "train", 0, {"other": 1})


def test_redo_of_the_warm_up_takes_out_every_round(folder: RunFolder) -> None:
    whole_run(folder)
    redo(folder, "train", WARM_UP)
    assert files(folder) == {
        "config.json", "logs/train_01.log", "warm_up/generate.done.json", "warm_up/pairs/part-00000.jsonl"
    }  # fmt: skip


def test_a_redo_cut_short_leaves_no_stage_that_looks_done(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the old settings must not be gone on with under new ones."""
    whole_run(folder)

    def refuse(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(KeyboardInterrupt):
        redo(folder, "generate", 1)
    monkeypatch.undo()
    assert folder.done("train", 1) is None
    with pytest.raises(StaleStageError):
        begin_stage(folder, "train", 1, {"other": 1})
    redo(folder, "generate", 1)
    assert begin_stage(folder, "generate", 1, {"other": 1})
    assert (folder.round(1) / "evaluation.json").exists()


HOLD = """
import sys
from pathlib import Path
from loop.folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_in_use_is_refused_and_free_again_after_kill_9(folder: RunFolder) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StageError) as caught, folder.locked():
            pass
        told = str(caught.value)
        assert f"in use by process {holder.pid}" in told
        assert "--run" in told
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with folder.locked():
        assert (folder.path / ".lock").read_text() == str(os.getpid())
    with folder.locked():
        pass


CRASH = """
import sys
from pathlib import Path
from loop.folder import RunFolder, begin_stage, end_stage
folder = RunFolder(Path(sys.argv[1]))
if begin_stage(folder, "train", 0, {"a": 1}):
    (folder.round(0) / "training.jsonl").write_text("figures")
    end_stage(folder, "train", 0, {"a": 1}, outputs={"pairs": 3}, seconds=1.0)
"""


@pytest.mark.parametrize(
    "point",
    ["file-before-rename:1", "file-after-rename:1", "file-before-rename:2", "file-after-rename:2", "marker-before",
     "marker-after"],
)  # fmt: skip
def test_a_crash_at_any_point_of_a_marker_is_made_good_by_the_same_command(folder: RunFolder, point: str) -> None:
    command = [sys.executable, "-c", CRASH, str(folder.path)]
    crashed = subprocess.run(command, cwd=ROOT, env={**os.environ, "CONSTITUTE_CRASH_AT": point})
    assert crashed.returncode == -signal.SIGKILL
    for path in folder.path.rglob("*.json"):
        assert json.loads(path.read_text())["inputs"] == {"a": 1}
    for _ in range(2):
        assert subprocess.run(command, cwd=ROOT).returncode == 0
        marker = folder.done("train", 0)
        assert marker is not None
        assert marker["outputs"] == {"pairs": 3}
        assert not list(folder.path.rglob("*.started.json"))


@pytest.mark.parametrize("killed_after_the_marker", [False, True])
def test_a_checkpoint_goes_with_the_end_of_its_stage(folder: RunFolder, killed_after_the_marker: bool) -> None:
    kept = folder.round(0) / "checkpoint" / "step-00000004"
    assert begin_stage(folder, "train", 0, INPUTS)
    kept.mkdir(parents=True)
    (kept / "state.json").write_text("{}")
    assert begin_stage(folder, "train", 0, INPUTS) and kept.exists(), "it is gone on from"
    if killed_after_the_marker:
        folder.marker("train", 0).write_text((folder.round(0) / "train.started.json").read_text())
        assert not begin_stage(folder, "train", 0, INPUTS)
    else:
        end_stage(folder, "train", 0, INPUTS, outputs={}, seconds=1.0)
    assert files(folder) == {"round_00/train.done.json"} and not kept.parent.exists()


def test_a_training_with_a_checkpoint_is_not_gone_on_with_under_other_settings(folder: RunFolder) -> None:
    assert begin_stage(folder, "train", 0, INPUTS)
    (folder.round(0) / "checkpoint" / ".writing").mkdir(parents=True)
    assert begin_stage(folder, "train", 0, {**INPUTS, "model": "y"}), "there is nothing to lose yet"
    (folder.round(0) / "checkpoint" / "step-00000004").mkdir()
    with pytest.raises(StaleStageError, match=r"model: was .y., now .x."):
        begin_stage(folder, "train", 0, {**INPUTS, "model": "x"})
    assert redo(folder, "train", 0) and not (folder.round(0) / "checkpoint").exists()
    assert begin_stage(folder, "train", 0, {**INPUTS, "model": "x"})
