"""However a process ends, what it started ends with it: forked, spawned as vLLM spawns, or asked too late."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from loop.orphans import PARENT
from tests.tracked import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked")

# Prints the ids of its descendants, and waits for ever.
FORKING = """
import os, signal
from loop.orphans import die_with_parent
die_with_parent()
child = os.fork()
if child == 0:
    grandchild = os.fork()
    if grandchild:
        print(os.getpid(), grandchild, flush=True)
    signal.pause()
signal.pause()
"""
# As `python -m loop.stage` looks to a process that multiprocessing spawns from it.
SPAWNING = """
import importlib.util, multiprocessing, signal, sys
sys.modules["__main__"].__spec__ = importlib.util.find_spec("loop.stage")
child = multiprocessing.get_context("spawn").Process(target=signal.pause)
child.start()
print(child.pid, flush=True)
signal.pause()
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def has_asked(pid: int) -> bool:
    """Whether the spawned process has come as far as its work: it sleeps in `pause`."""
    return "pause" in Path(f"/proc/{pid}/wchan").read_text() or Path(f"/proc/{pid}/syscall").read_text().startswith(
        "34 "
    )


@pytest.mark.parametrize("code", [FORKING, SPAWNING], ids=["forked", "spawned"])
def test_descendants_die_with_a_process_that_is_killed(code: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    descendants = [int(word) for word in parent.stdout.readline().split()]
    assert descendants
    try:
        for _ in range(600):
            if all(has_asked(pid) for pid in descendants):
                break
            select.select([], [], [], 0.1)
        assert all(is_running(pid) for pid in descendants)
        parent.kill()
        parent.wait()
        for _ in range(100):
            if not any(is_running(pid) for pid in descendants):
                break
            select.select([], [], [], 0.1)
        assert not any(is_running(pid) for pid in descendants)
    finally:
        for pid in (parent.pid, *descendants):
            if is_running(pid):
                os.kill(pid, 9)


def test_a_process_whose_parent_died_before_it_could_ask_ends_at_once() -> None:
    code = "from loop.orphans import die_with_parent; die_with_parent(); print('went on')"
    late = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, PARENT: "1"}, capture_output=True, text=True
    )
    assert (late.returncode, late.stdout) == (1, "")
    in_time = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, PARENT: str(os.getpid())},
        capture_output=True,
        text=True,
    )
    assert (in_time.returncode, in_time.stdout) == (0, "went on\n")
