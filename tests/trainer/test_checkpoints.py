"""A training killed at any optimizer step and started again ends with the bytes of one that was not."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from records.digest import adapter_digest
from tests.forked import crash_runs
from tests.trainer.killed import RUN_THIS
from tests.trainer.tiny import rows_preferring
from tests.trainer.training import read_log, train
from trainer.checkpoint import FOLDER, Checkpoint, find_checkpoint, place_of, write_checkpoint
from trainer.training_log import lines_up_to

pytestmark = pytest.mark.model

KILLED = -9
# 18 pairs, 6 to a step: three epochs of three steps. Dropout makes every step depend on the random generator.
SETTINGS = {"checkpoint_every": 2, "lora": {"dropout": 0.1}, "shortcut_pairs": 0}
CASES = {
    "undisturbed": [],
    "within_an_epoch": ["step:5"],
    "twice": ["step:3", "step:7"],
    "first_torn": ["checkpoint-torn:1"],
    "not_in_its_place": ["checkpoint-before-rename:2"],
    "two_in_their_places": ["checkpoint-after-rename:3"],
    "adapter_in_its_place": ["adapter-after-rename"],
}
MORE = {
    "undisturbed": [],
    "before_the_first": ["step:1"],
    "at_the_end_of_an_epoch": ["step:7"],
    "at_the_last_step": ["step:9"],
    "at_a_written_step_again": ["step:5", "step:5"],
    "later_torn": ["checkpoint-torn:2"],
    "adapter_not_in_its_place": ["adapter-before-rename"],
}
OTHER = {"learning_rate": 1e-3}


def trained(tiny, folder, cases, then):
    told = {
        "model": str(tiny),
        "rows": rows_preferring("a", "b"),
        "settings": SETTINGS,
        "cases": cases,
        "then": then,
    }
    return folder, *crash_runs(RUN_THIS, folder, told)


@pytest.fixture(scope="module")
def killed(tiny, tmp_path_factory):
    cases = CASES | {"of_other_inputs": ["step:5"], "other_inputs": []}
    then = {"of_other_inputs": OTHER, "other_inputs": OTHER}
    return trained(tiny, tmp_path_factory.mktemp("killed"), cases, then)


@pytest.fixture(scope="module")
def killed_elsewhere(tiny, tmp_path_factory):
    return trained(tiny, tmp_path_factory.mktemp("killed"), MORE, {})


def log_of(folder: Path, name: str) -> str:
    return (folder / name / "round_00" / "training.jsonl").read_text()


@pytest.mark.parametrize("name", [name for name in CASES if name != "undisturbed"])
def test_a_killed_training_ends_with_the_same_bytes(killed, name):
    assert_the_same(*killed, name, len(CASES[name]))


@pytest.mark.soak  # as those above: a minute of trainings
@pytest.mark.parametrize("name", [name for name in MORE if name != "undisturbed"])
def test_a_killed_training_ends_with_the_same_bytes_wherever_it_was(killed_elsewhere, name):
    assert_the_same(*killed_elsewhere, name, len(MORE[name]))


def assert_the_same(folder, codes, errors, name, kills):
    assert codes[name] == [*[KILLED] * kills, 0], errors
    ended, undisturbed = (folder / one / "round_00" / "adapter" for one in (name, "undisturbed"))
    assert adapter_digest(ended) == adapter_digest(undisturbed)
    assert log_of(folder, name) == log_of(folder, "undisturbed"), "no step's line is doubled, missing or another"
    figures = [json.loads((folder / f"{one}.json").read_text()) for one in (name, "undisturbed")]
    assert figures[0] | {"seconds": 0} == figures[1] | {"seconds": 0}


def test_the_undisturbed_training_is_one_of_nine_steps(killed):
    folder, codes, _ = killed
    assert codes["undisturbed"] == [0]
    lines = read_log(folder / "undisturbed" / "round_00")
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 10))
    assert [line["step"] for line in lines if "eval_loss" in line] == [0, 9]


def test_the_last_checkpoint_is_kept_alone_and_holds_no_pickle(killed):
    folder, _, _ = killed
    for name in CASES:
        left = folder / name / "round_00" / FOLDER
        assert [path.name for path in left.iterdir()] == ["step-00000008"]
        files = sorted(path.name for path in (left / "step-00000008").iterdir())
        assert files == ["state.json", "tensors.safetensors", "trainer_state.json"]
        assert json.loads((left / "step-00000008" / "trainer_state.json").read_text())["global_step"] == 8


def test_a_checkpoint_of_other_inputs_is_never_used(killed):
    folder, codes, _ = killed
    assert codes["of_other_inputs"] == [KILLED, 0]
    digests = [adapter_digest(folder / name / "round_00" / "adapter") for name in ("of_other_inputs", "other_inputs")]
    assert digests[0] == digests[1] != adapter_digest(folder / "undisturbed" / "round_00" / "adapter")
    assert log_of(folder, "of_other_inputs") == log_of(folder, "other_inputs")


def test_writing_checkpoints_changes_nothing(tiny, tmp_path):
    digests = set()
    for name, settings in (("none", {}), ("each", {"checkpoint_every": 1}), ("timed", {"checkpoint_minutes": 1e-9})):
        train(tiny, tmp_path / name, rows_preferring("a", "b", count=12, validation=0), epochs=2, **settings)
        digests.add(adapter_digest(tmp_path / name / "adapter"))
        left = [path.name for path in (tmp_path / name / FOLDER).glob("*")]
        assert left == ([] if name == "none" else ["step-00000003"])
    assert len(digests) == 1


def checkpoint(step: int, made_from: str = "this") -> Checkpoint:
    import torch

    return Checkpoint(step, {"weight.a": torch.full((3,), float(step))}, {"made_from": made_from})


@pytest.mark.parametrize("lost", ["tensors.safetensors", "state.json", "trainer_state.json"])
@pytest.mark.parametrize("how", ["gone", "torn"])
def test_a_damaged_checkpoint_is_taken_out_and_said(tmp_path, caplog, lost, how):
    write_checkpoint(tmp_path / FOLDER, checkpoint(4), {"global_step": 4})
    path = place_of(tmp_path / FOLDER, 4) / lost
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[:-3])
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint(tmp_path / FOLDER, "this") is None
    assert "the checkpoint is taken out: it cannot be read" in caplog.text
    assert not (tmp_path / FOLDER).exists()


def test_the_last_checkpoint_is_found_with_what_it_held(tmp_path):
    assert find_checkpoint(tmp_path / FOLDER, "this") is None
    for step in (2, 4):
        write_checkpoint(tmp_path / FOLDER, checkpoint(step), {"global_step": step})
    found = find_checkpoint(tmp_path / FOLDER, "this")
    assert found and found.step == 4 and found.tensors["weight.a"].tolist() == [4.0] * 3
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["step-00000004"]
    assert find_checkpoint(tmp_path / FOLDER, "other") is None and not (tmp_path / FOLDER).exists()


def test_a_log_that_does_not_reach_to_the_checkpoint_cannot_be_gone_on_with(tmp_path):
    from trainer.config import TrainConfig
    from trainer.resume import plan_checkpoints

    lines = [{"step": 0, "eval_loss": 1.0}, *({"step": step, "loss": 1.0} for step in (1, 2, 3, 4))]
    for held, reaches in (
        (lines, True),
        ([*lines, {"step": 4, "eval_loss": 1.0}], True),
        (lines[:4], False),
        (lines[:2] + lines[3:], False),
    ):
        text = "".join(json.dumps(line) + "\n" for line in held)
        (tmp_path / "training.jsonl").write_text(text + '{"step": 5, "lo')
        assert lines_up_to(tmp_path / "training.jsonl", 4) == (lines if reaches else [])
        write_checkpoint(tmp_path / FOLDER, checkpoint(4), {"global_step": 4})
        plan = plan_checkpoints(tmp_path, "this", TrainConfig())
        assert plan.begun_at == (4 if reaches else 0) and (tmp_path / FOLDER).exists() is reaches


def test_a_checkpoint_is_due_by_steps_or_by_time_and_never_after_the_last_step():
    from trainer.resume import _Due

    def saved(steps, minutes, seconds):
        now, found = [0.0], []
        due = _Due(steps, minutes, clock=lambda: now[0])
        for step in range(1, 10):
            now[0] += seconds
            control = SimpleNamespace(should_save=False)
            due.on_step_end(None, SimpleNamespace(global_step=step, max_steps=9), control)
            if control.should_save:
                found.append(step)
                due.on_save(None, None, None)
        return found

    assert saved(3, 10.0, 60.0) == [3, 6]
    assert saved(None, 10.0, 60.0) == []
    assert saved(None, 4.0, 60.0) == [4, 8]
    assert saved(None, 1.0, 100.0) == [1, 2, 3, 4, 5, 6, 7, 8]
