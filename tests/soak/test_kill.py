"""kill -9 at random moments and a crash at every write: the same command completes, no row is lost, none twice."""

from __future__ import annotations

import json
import logging
import os
import random
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from records.atomic import CRASH_POINTS
from records.store import read_rows
from tests.loop.real_run import outcome_of, run_command, write_run

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]

KILLS = 10
SETTINGS: dict[str, Any] = {
    "rounds": 1,
    "prompts_per_round": 24,
    "validation_prompts": 4,
    "min_pairs": 1,
    "train": {"checkpoint_every": 1, "pairs_per_step": 4, "pairs_per_micro_batch": 4},
    "evaluate": {"drafts": 1, "max_prompts": 12, "sway_drafts": 0},
}
CHAINS, DRAFTS = 28, 12
# Which passing of a point is crashed at. A stage's drafts come before its pairs, and its evaluation's files before its
# generation's; the command itself writes files only (settings, started-markers, the report).
IN_STAGE = {
    "row-before": (2, 22), "row-torn": (3, 23), "row-after": (4, 24), "shard-roll": (1, 4),
    "file-before-rename": (1, 2, 3, 5), "file-after-rename": (1, 2, 4, 5), "marker-before": (1, 2),
    "marker-after": (1, 2), "adapter-before-rename": (1,), "adapter-after-rename": (1,),
    "checkpoint-torn": (1,), "checkpoint-before-rename": (1,), "checkpoint-after-rename": (1,),
    "compact-begun": (1,), "parquet-torn": (2,), "parquet-before-rename": (1,), "parquet-after-rename": (3,),
    "lines-removed": (1, 4), "compact-ended": (1,),
}  # fmt: skip
IN_COMMAND = {"file-before-rename": (1, 4, 7), "file-after-rename": (2, 5, 8)}
CRASHES = [(who, f"{name}:{passing}")
           for who, points in (("SOAK_CRASH_STAGE_AT", IN_STAGE), ("CONSTITUTE_CRASH_AT", IN_COMMAND))
           for name, passings in points.items() for passing in passings]  # fmt: skip


def start(cwd: Path, **environment: str) -> subprocess.Popen[str]:
    return run_command("cli", "run", "small.yaml", cwd=cwd, module="tests.soak.small_shards", **environment)


def finish(cwd: Path) -> None:
    status, out, err = outcome_of(start(cwd), 1800)
    assert status == 0, out + err


def ids(cwd: Path) -> list[str]:
    """The ids of all finished rows, those of the two evaluations told apart."""
    run = cwd / "outputs" / "small"
    found = []
    for folder in sorted({shard.parent for shard in run.glob("round_*/*/part-*")}):
        kind = folder.relative_to(run).as_posix().replace("rejects", "chains").replace("pairs", "chains")
        found += [f"{kind}: {row['id']}" for row in read_rows(folder)]
    return found


def report(cwd: Path) -> Any:
    """A report without its figures. Evaluation on validation pairs is left out: there may have been none."""
    value = json.loads((cwd / "outputs" / "small" / "report.json").read_text())
    rounds = [
        {
            name: sorted(key for key in entry[name] if "eval_" not in key)
            for name in ("evaluation", "generation", "training")
            if name in entry
        }
        for entry in value["rounds"]
    ]
    return {"keys": sorted(value), "run": value["run"], "status": value["status"], "rounds": rounds}


def assert_whole(cwd: Path, before: list[str], expected: Any) -> None:
    """Nothing lost, nothing twice, nothing torn, and the report of an undisturbed run."""
    after = ids(cwd)
    assert len(after) == len(set(after)) == CHAINS + 2 * DRAFTS
    assert set(before) <= set(after)
    assert report(cwd) == expected
    run = cwd / "outputs" / "small"
    for shard in run.rglob("part-*.jsonl"):
        assert shard.read_bytes().endswith(b"\n")
    assert not list(run.rglob("*.started.json"))
    assert (run / "round_00" / "adapter" / "adapter_model.safetensors").is_file()
    hand_off = json.loads((run / "round_01" / "evaluation.json").read_text())["hand_off"]
    assert hand_off["outcome"] in ("proven", "undecidable")


def descendants(pid: int) -> list[int]:
    """A process and all that came from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] not in ("Z", "X"):
                parents[int(entry.name)] = int(fields[1])
    tree = [pid]
    for found in tree:
        tree += [child for child, parent in parents.items() if parent == found]
    return tree


def assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < deadline, left
        select.select([], [], [], 0.1)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, float]:
    """The report of a run that nobody kills, and the seconds it takes."""
    cwd = write_run(tmp_path_factory.mktemp("undisturbed"), **SETTINGS)
    began = time.monotonic()
    finish(cwd)
    expected = report(cwd)
    assert_whole(cwd, [], expected)
    assert expected["status"] == "complete"
    return expected, time.monotonic() - began


@pytest.mark.parametrize("kill", range(KILLS))
def test_killed_at_a_random_moment_the_same_command_completes(
    kill: int, tmp_path: Path, undisturbed: tuple[Any, float]
) -> None:
    expected, seconds = undisturbed
    cwd = write_run(tmp_path, **SETTINGS)
    # Every tenth of the run has its kill, each at a moment of its own.
    moment = seconds * (kill + random.random()) / KILLS
    process = start(cwd)
    select.select([], [], [], moment)
    tree = descendants(process.pid)
    # Half of the kills hit all processes at once, half only the first, with which the others must go.
    for pid in tree if kill % 2 else tree[:1]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate()
    assert_gone(tree)
    before = ids(cwd)
    logging.info("killed after %.1f of %.1f s: %d rows, %d processes", moment, seconds, len(before), len(tree))
    finish(cwd)
    assert_whole(cwd, before, expected)


def test_every_point_is_crashed_at() -> None:
    # A damaged shard is no crash: tests/generator/test_damage.py.
    assert {point.partition(":")[0] for _, point in CRASHES} == {*CRASH_POINTS} - {"shard-set-aside"}


@pytest.mark.parametrize(("who", "point"), CRASHES)
def test_crashed_at_a_write_the_same_command_completes(
    who: str, point: str, tmp_path: Path, undisturbed: tuple[Any, float]
) -> None:
    expected, _ = undisturbed
    cwd = write_run(tmp_path, **SETTINGS)
    status, _, err = outcome_of(start(cwd, **{who: point}), 1800)
    if who == "CONSTITUTE_CRASH_AT":
        assert status == -signal.SIGKILL, err
    else:
        assert status == 2, err
        assert "was killed (SIGKILL)" in err
    before = ids(cwd)
    assert len(before) == len(set(before))
    finish(cwd)
    assert_whole(cwd, before, expected)
