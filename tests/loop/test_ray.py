"""Two workers of a real Ray cluster with a scripted engine each; tests/loop/test_cluster.py has the real ones."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil

from tests.loop.scripted_run import CHAINS, rows, start, write_world
from tests.loop.test_stopped import until

WORKERS = "scale={workers: 2, gpus_per_worker: 0, lease: 2}"


def test_a_worker_killed_at_its_work_loses_no_prompt_and_is_started_again(tmp_path: Path) -> None:
    world = write_world(tmp_path)
    round_0 = world / "outputs" / "run" / "round_00"
    # The evaluation before it has its engine in the stage's own process, where vLLM loads Ray, as this one does.
    settings = {"SCRIPTED_PAUSE": "0.4", "SCRIPTED_LOADS": "ray"}
    process = start("run", "run.yaml", WORKERS, "evaluate.max_prompts=2", cwd=world, **settings)
    until(lambda: len({path.parts[-3] for path in round_0.glob("workers/*/*/part-*")}) == 2, process)
    tree = psutil.Process(process.pid).children(recursive=True)
    heard = [place for child in tree for place in child.net_connections("tcp") if place.status == psutil.CONN_LISTEN]
    assert heard and {place.laddr.ip.removeprefix("::ffff:") for place in heard} == {"127.0.0.1"}
    actors = [child for child in tree if "Actor" in " ".join(child.cmdline())]
    assert len(actors) == 2
    os.kill(actors[0].pid, signal.SIGKILL)
    _, told = process.communicate(timeout=200)
    assert process.returncode == 0, told
    assert "died" in told and "its log: " in told
    found = rows(round_0)
    assert len({row["id"] for row in found}) == len({row["prompt_id"] for row in found}) == len(found) == CHAINS
    outputs = json.loads((round_0 / "generate.done.json").read_text())["outputs"]
    assert outputs["chains"] == outputs["pairs"] + sum(outputs["rejects"].values()) == CHAINS
    assert outputs["worker_deaths"] == 1 and outputs["chains_given_back"] > 0
    assert len(list((world / "outputs" / "run" / "logs").glob("worker_00_*.log"))) == 3
    psutil.wait_procs(tree, timeout=20)
    assert not [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
