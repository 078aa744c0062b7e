"""Damaged shards in a run: made good by the same command while the round is not trained on, told afterwards."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from records.shard import DAMAGED
from records.store import read_rows, shards
from tests.loop.scripted_run import CHAINS, constitute, rows, start, write_world
from tests.loop.test_scripted_run import give_adapter
from tests.loop.test_stopped import SMALL_SHARDS, until

GENERATE = ("generate", "run.yaml")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path / "world")


def damage(path: Path) -> bytes:
    """Bytes in the middle of a file that were never written; returns what it then holds."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = b"\xff\x00" * 32
    path.write_bytes(data)
    return bytes(data)


def test_a_finished_round_is_mended_by_the_same_command(world: Path) -> None:
    assert constitute(*GENERATE, cwd=world, **SMALL_SHARDS).returncode == 0
    round_0 = world / "outputs" / "run" / "round_00"
    before = {row["id"]: row for row in rows(round_0)}
    path = shards(round_0 / "pairs")[1]
    held = [row["id"] for row in list(read_rows(round_0 / "pairs"))[10:20]]
    bad = damage(path)
    mended = constitute(*GENERATE, cwd=world, **SMALL_SHARDS)
    assert mended.returncode == 0, mended.stderr
    assert f"{path.relative_to(world)}: it cannot be read as Parquet" in mended.stderr
    assert f"set aside as {DAMAGED}/{path.name}-1; its prompts are done again" in mended.stderr
    assert "Traceback" not in mended.stderr
    assert (round_0 / "pairs" / DAMAGED / f"{path.name}-1").read_bytes() == bad
    after = {row["id"]: row for row in rows(round_0)}
    assert len(rows(round_0)) == len(after) == CHAINS and after.keys() == before.keys()
    assert all(after[id] == row for id, row in before.items() if id not in held)
    marker = json.loads((round_0 / "generate.done.json").read_text())
    assert marker["outputs"]["damaged_shards"] == 1 and marker["outputs"]["chains"] == CHAINS
    assert not (round_0 / "generate.started.json").exists()
    shown = constitute("run", "run.yaml", cwd=world, **SMALL_SHARDS)
    assert shown.returncode == 0, shown.stderr
    report = world / "outputs" / "run" / "report.md"
    assert "1 shard was damaged" in report.read_text() and "pairs/damaged" in report.read_text()
    again = constitute(*GENERATE, cwd=world)
    assert again.returncode == 0 and "damaged" not in again.stderr and "starting vLLM" not in again.stderr


def test_a_round_that_was_trained_on_is_left_alone_and_the_damage_told(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert constitute(*GENERATE, cwd=world).returncode == 0
    path = shards(world / "outputs" / "run" / "round_00" / "pairs")[0]
    give_adapter(world, "run", monkeypatch, new=-1.0)
    whole, markers = path.read_bytes(), sorted(path.parent.parent.glob("*.json"))
    damage(path)
    told = constitute("run", "run.yaml", cwd=world)
    assert told.returncode == 2 and "Traceback" not in told.stderr
    assert f"{path.name}: it cannot be read as Parquet" in told.stderr
    assert "put the file back from a copy" in told.stderr and "--redo" in told.stderr
    assert path.exists() and sorted(path.parent.parent.glob("*.json")) == markers
    path.write_bytes(whole)
    assert constitute("generate", "run.yaml", cwd=world).returncode == 0


@pytest.mark.parametrize("verb", ["evaluate", "generate"])
def test_a_stage_that_was_killed_makes_its_damaged_lines_anew(world: Path, verb: str) -> None:
    folder = "drafts" if verb == "evaluate" else "pairs"
    place = world / "outputs" / "run" / "round_00" / folder
    process = start(verb, "run.yaml", cwd=world, SCRIPTED_PAUSE="0.05", SCRIPTED_SHARD="4")
    until(lambda: len(shards(place)) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    path = shards(place)[0]
    damage(path)
    done = constitute(verb, "run.yaml", cwd=world, SCRIPTED_SHARD="4")
    assert done.returncode == 0, done.stderr
    assert f"{path.relative_to(world)}: line " in done.stderr and "its prompts are done again" in done.stderr
    assert [path.name for path in (place / DAMAGED).glob("part-*")] == [f"{path.name}-1"]
    found = [row["id"] for row in (read_rows(place) if verb == "evaluate" else rows(place.parent))]
    assert len(found) == len(set(found)) == (16 if verb == "evaluate" else CHAINS)
    name = "evaluation.json" if verb == "evaluate" else "generate.done.json"
    assert '"damaged_shards": 1' in (place.parent / name).read_text()
