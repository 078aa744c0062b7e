"""Two workers of a real Ray cluster on this machine, each with a real vLLM; one of them is killed at its work."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.loop.real_run import outcome_of, run_command, write_run
from tests.loop.scripted_run import rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1500)]

CHAINS = 60
SETTINGS: dict[str, Any] = {
    "rounds": 1,
    "prompts_per_round": CHAINS,
    "validation_prompts": 0,
    "engine": {"sequences": 8, "context": 1024, "eager": True, "cache_gib": 0.1},
    "scale": {"workers": 2, "gpus_per_worker": 0, "lease": 4},
}


def until(happened: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    deadline = time.monotonic() + 600
    while not (found := happened()):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(process.communicate())
        select.select([], [], [], 0.1)
    return found


def finished(round_0: Path) -> dict[str, int]:
    """Rows that each worker has written by its name."""
    return {
        worker.name: sum(len(shard.read_bytes().splitlines()) for shard in worker.rglob("part-*.jsonl"))
        for worker in (round_0 / "workers").glob("*")
    }


def actors(process: subprocess.Popen[str]) -> list[psutil.Process]:
    tree = psutil.Process(process.pid).children(recursive=True)
    return [child for child in tree if "_Actor" in " ".join(child.cmdline())]


def under_way(cwd: Path) -> subprocess.Popen[str]:
    """A command whose two workers have both finished some chains, and have many to go."""
    process = run_command("generate", "small.yaml", cwd=cwd)
    round_0 = cwd / "outputs" / "small" / "round_00"
    until(lambda: len(found := finished(round_0)) == 2 and min(found.values()) >= 3, process)
    assert sum(finished(round_0).values()) < CHAINS
    return process


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    psutil.wait_procs(processes, timeout=20)
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def assert_whole(round_0: Path) -> dict[str, Any]:
    """Every prompt is there once; returns what the marker says."""
    found = rows(round_0)
    assert len({row["prompt_id"] for row in found}) == len({row["id"] for row in found}) == len(found) == CHAINS
    outputs: dict[str, Any] = json.loads((round_0 / "generate.done.json").read_text())["outputs"]
    assert outputs["chains"] == outputs["pairs"] + sum(outputs["rejects"].values()) == CHAINS
    assert outputs["pairs"] >= CHAINS // 4
    assert not (round_0 / "workers").exists()
    return outputs


def test_a_worker_killed_at_its_work_loses_no_prompt_and_is_started_again(tmp_path: Path) -> None:
    cwd = write_run(tmp_path, **SETTINGS)
    run = cwd / "outputs" / "small"
    process = under_way(cwd)
    tree = psutil.Process(process.pid).children(recursive=True)

    killed = actors(process)[0]
    engine = killed.children(recursive=True)
    assert engine
    os.kill(killed.pid, signal.SIGKILL)
    assert not running(engine)

    status, out, err = outcome_of(process, 500)
    assert status == 0, out + err
    assert "died" in err and "its log: " in err
    outputs = assert_whole(run / "round_00")
    assert outputs["worker_deaths"] == 1 and outputs["chains_given_back"] > 0
    assert len(list((run / "logs").glob("worker_00_*.log"))) == 3
    assert not running(tree)


def test_asked_to_stop_it_ends_within_seconds_and_one_machine_goes_on(tmp_path: Path) -> None:
    cwd = write_run(tmp_path, **SETTINGS)
    round_0 = cwd / "outputs" / "small" / "round_00"
    process = under_way(cwd)
    tree = psutil.Process(process.pid).children(recursive=True)
    before, began = sum(finished(round_0).values()), time.monotonic()
    process.send_signal(signal.SIGINT)
    status, out, err = outcome_of(process, 60)
    logging.info("stopped in %.1f s with %d rows", time.monotonic() - began, before)
    assert status == 130, out + err
    assert time.monotonic() - began < 15
    assert "go on" in err and "Traceback" not in err
    assert not running(tree)

    # Without workers, the same command goes on from their rows.
    status, out, err = outcome_of(run_command("generate", "small.yaml", "scale.workers=1", cwd=cwd), 400)
    assert status == 0, out + err
    assert_whole(round_0)
