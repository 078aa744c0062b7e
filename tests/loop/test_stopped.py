"""Stopped, killed, out of disk: the same command again ends with every row once. The engine alone is scripted."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from records.atomic import CRASH_POINTS
from records.store import shards
from tests.loop.scripted_run import CHAINS, constitute, rows, start, write_world
from tests.tracked import ROOT

GENERATE = ("generate", "run.yaml")
SMALL_SHARDS = {"SCRIPTED_SHARD": "10"}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path / "a folder with spaces")


def round_0(world: Path) -> Path:
    return world / "outputs" / "run" / "round_00"


def ids(world: Path) -> list[str]:
    return [row["id"] for row in rows(round_0(world))]


def until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        select.select([], [], [], 0.02)


def stage_of(process: subprocess.Popen[str]) -> int:
    """The process id of the stage that a command has under way."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def begun(world: Path) -> subprocess.Popen[str]:
    """A command that has some rows on disk and many to go."""
    process = start(*GENERATE, cwd=world, SCRIPTED_PAUSE="0.1", **SMALL_SHARDS)
    until(lambda: len(ids(world)) >= 5, process)
    assert len(ids(world)) < CHAINS
    return process


def assert_completes(world: Path, before: list[str]) -> None:
    """The same command again: nothing lost, nothing twice, and then nothing left to do."""
    done = constitute(*GENERATE, cwd=world, **SMALL_SHARDS)
    assert done.returncode == 0, done.stderr
    after = ids(world)
    assert len(after) == len(set(after)) == CHAINS
    assert set(before) <= set(after)
    assert len(shards(round_0(world) / "pairs")) == 4


@pytest.mark.parametrize("whom", ["command by SIGINT", "command by SIGTERM", "stage by SIGTERM"])
def test_a_request_to_stop_finishes_writing_and_says_how_to_go_on(world: Path, whom: str) -> None:
    process = begun(world)
    stage = stage_of(process)
    who, _, number = whom.partition(" by ")
    began = time.monotonic()
    os.kill(process.pid if who == "command" else stage, signal.Signals[number])
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == 128 + signal.Signals[number], told
    assert "run the same command again to go on" in told
    assert "Traceback" not in told
    assert not is_running(stage)
    assert not (round_0(world) / "generate.done.json").exists()
    for shard in round_0(world).rglob("part-*.jsonl"):
        assert shard.read_bytes().endswith(b"\n")
    assert_completes(world, ids(world))


@pytest.mark.model
def test_a_training_asked_to_stop_says_how_to_go_on_and_begins_anew(world: Path) -> None:
    model, train = f"model={ROOT / 'demo' / 'model'}", ("train", "run.yaml")
    fast = ("train.learning_rate=1e-3", "train.pairs_per_step=4")
    made = constitute(*GENERATE, model, "engine.context=1024", cwd=world)
    assert made.returncode == 0, made.stderr
    process = start(*train, model, "engine.context=1024", *fast, "train.epochs=1000", cwd=world)
    log = round_0(world) / "training.jsonl"
    until(lambda: log.exists() and len(log.read_bytes().splitlines()) > 2, process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "run the same command again to go on" in told and "Traceback" not in told
    assert not (round_0(world) / "adapter").exists() and not (round_0(world) / "train.done.json").exists()
    done = constitute(*train, model, "engine.context=1024", *fast, "train.epochs=1", cwd=world)
    assert done.returncode == 0, done.stderr
    assert (round_0(world) / "adapter" / "adapter_model.safetensors").exists()


def test_killed_with_its_stage_it_loses_nothing(world: Path) -> None:
    """The stage has a session of its own; kill -9 of the command alone must end it too."""
    process = begun(world)
    stage = stage_of(process)
    process.kill()
    process.communicate()
    select.select([], [], [], 0.2)
    assert not is_running(stage)
    assert_completes(world, ids(world))


def test_a_killed_stage_is_told_with_its_log(world: Path) -> None:
    process = begun(world)
    os.kill(stage_of(process), signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "stage generate of round 0 was killed (SIGKILL)" in told
    assert "logs/generate_00.log" in told
    assert "run the same command again" in told
    assert_completes(world, ids(world))


def test_crashes_at_one_write_after_the_other_are_made_good(world: Path) -> None:
    points = [
        "file-before-rename:1", "file-after-rename:3", "row-before:3", "row-torn:4", "row-after:5", "shard-roll",
        "parquet-before-rename:2", "lines-removed", "marker-before", "marker-after", "file-before-rename:4",
        "file-after-rename:4",
    ]  # fmt: skip
    # The others of compaction are crashed at in tests/generator/test_generate.py.
    missing = {point for point in CRASH_POINTS if point.startswith(("row-", "file-", "marker-", "shard-roll"))}
    assert missing <= {point.partition(":")[0] for point in points}
    before: list[str] = []
    for point in points:
        crashed = constitute(*GENERATE, cwd=world, CONSTITUTE_CRASH_AT=point, **SMALL_SHARDS)
        in_stage = crashed.returncode == 2 and "was killed (SIGKILL)" in crashed.stderr
        assert in_stage or crashed.returncode == -signal.SIGKILL, (point, crashed)
        after = ids(world)
        assert len(after) == len(set(after)), point
        assert set(before) <= set(after), point
        before = after
    assert_completes(world, before)


def test_a_full_disk_is_told_and_what_was_written_is_safe(world: Path) -> None:
    limited = ("bash", "-c", 'ulimit -f 48; exec "$@"', "limited")
    full = constitute(*GENERATE, cwd=world, before=limited)
    assert full.returncode == 2, full.stderr
    assert "round_00/pairs: a row could not be written" in full.stderr
    assert "run the same command again" in full.stderr
    assert "Traceback" not in full.stderr
    before = ids(world)
    assert 0 < len(before) < CHAINS
    for shard in round_0(world).rglob("part-*.jsonl"):
        assert shard.read_bytes().endswith(b"\n")
    done = constitute(*GENERATE, cwd=world)
    assert done.returncode == 0, done.stderr
    assert len(ids(world)) == len(set(ids(world))) == CHAINS
    assert set(before) <= set(ids(world))


def test_a_disk_with_no_room_for_parquet_is_told_and_the_rows_are_safe(world: Path) -> None:
    # Four rows take less as lines than as Parquet, whose index alone is larger than this.
    limited = ("bash", "-c", 'ulimit -f 24; exec "$@"', "limited")
    full = constitute(*GENERATE, cwd=world, before=limited, SCRIPTED_SHARD="4")
    assert full.returncode == 2, full.stderr
    assert "part-00000.parquet: the shard could not be written" in full.stderr
    assert "its rows are safe" in full.stderr and "run the same command again" in full.stderr
    assert "Traceback" not in full.stderr
    before = rows(round_0(world))
    assert len(before) == len(set(ids(world))) == CHAINS
    done = constitute(*GENERATE, cwd=world)
    assert done.returncode == 0, done.stderr
    assert rows(round_0(world)) == before
    assert {path.suffix for path in round_0(world).glob("*/part-*")} == {".parquet"}


def test_a_disk_with_no_room_for_the_settings_is_told(world: Path) -> None:
    full = constitute(*GENERATE, cwd=world, before=("bash", "-c", 'ulimit -f 0; exec "$@"', "limited"))
    assert full.returncode == 2, full.stderr
    assert "Traceback" not in full.stderr
    assert "run the same command again" in full.stderr


def test_two_commands_do_not_write_into_one_folder(world: Path) -> None:
    process = begun(world)
    second = constitute(*GENERATE, cwd=world)
    assert second.returncode == 2
    assert f"in use by process {process.pid}" in second.stderr
    process.terminate()
    process.communicate(timeout=60)
    assert_completes(world, ids(world))


def test_a_stage_that_hears_nothing_is_ended_within_ten_seconds(world: Path) -> None:
    process = start(*GENERATE, cwd=world, SCRIPTED_STUCK="60", **SMALL_SHARDS)
    until(lambda: len(ids(world)) >= 5, process)
    stage = stage_of(process)
    before: list[str] = []
    while before != (found := ids(world)):
        before = found
        select.select([], [], [], 0.5)
    began = time.monotonic()
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == 143 and "run the same command again to go on" in told
    assert not is_running(stage)
    assert_completes(world, before)
