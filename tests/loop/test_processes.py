"""One stage process at a time; the one after it waits with its libraries loaded, and is never a stage too many."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loop.folder import RunFolder
from loop.processes import STAGE_COMMAND, Job, StageProcesses
from records.errors import StageError, StageFailed
from tests.tracked import ROOT

# Says when it is there and when it was told to go; then does what its first stage's name says.
STAGE = """
import os, signal, sys, time
folder, _, word, *_ = sys.argv[1:]
def say(what):
    with open(f"{folder}/said", "a") as file:
        file.write(f"{word} {what} {os.getpid()}\\n")
say("there")
if not sys.stdin.readline():
    sys.exit(0)
say("goes")
while word == "waits-for-it" and "next there" not in open(f"{folder}/said").read():
    time.sleep(0.01)
if word == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(3 if word == "fails" else 0)
"""
FIRST, NEXT = Job(0, ("waits-for-it",)), Job(0, ("next",))


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageProcesses:
    monkeypatch.setattr("loop.processes.STAGE_COMMAND", (sys.executable, "-c", STAGE))
    return StageProcesses(RunFolder(tmp_path))


def said(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "said").read_text().splitlines()]


def waiting(folder: Path) -> str:
    """The first process that was started for the next job; it may be there before the other one goes."""
    return next(line[2] for line in said(folder) if line[:2] == ["next", "there"])


def is_alive(pid: str) -> bool:
    return os.path.exists(f"/proc/{pid}/fd/0")


def test_the_next_process_is_there_while_one_works_and_goes_when_its_turn_comes(
    processes: StageProcesses, tmp_path: Path
) -> None:
    with processes:
        processes.run(FIRST, NEXT)
        expected = [["next", "there"], ["waits-for-it", "goes"], ["waits-for-it", "there"]]
        assert sorted(line[:2] for line in said(tmp_path)) == expected
        processes.run(NEXT)
    assert said(tmp_path)[-1] == ["next", "goes", waiting(tmp_path)]


def test_a_process_that_waits_for_another_job_ends_without_a_word(processes: StageProcesses, tmp_path: Path) -> None:
    with processes:
        processes.run(FIRST, NEXT)
        processes.run(Job(1, ("next",)))
    lines = said(tmp_path)
    (waited,) = [line[2] for line in lines if line[0] == "next" and line[1] == "there"][:1]
    assert not is_alive(waited)
    assert [line for line in lines if line[:2] == ["next", "goes"]] and ["next", "goes", waited] not in lines


def test_a_process_that_waits_ends_with_the_run(processes: StageProcesses, tmp_path: Path) -> None:
    with processes:
        processes.run(FIRST, NEXT)
        waits = waiting(tmp_path)
        assert is_alive(waits)
    assert not is_alive(waits)
    assert ["next", "goes", waits] not in said(tmp_path)


def test_a_process_that_died_while_it_waited_is_replaced(processes: StageProcesses, tmp_path: Path) -> None:
    with processes:
        processes.run(FIRST, NEXT)
        waits = int(waiting(tmp_path))
        os.kill(waits, 9)
        os.waitid(os.P_PID, waits, os.WEXITED | os.WNOWAIT)
        processes.run(NEXT)
    assert said(tmp_path)[-1][:2] == ["next", "goes"]


def test_how_a_process_ended_is_told(processes: StageProcesses) -> None:
    with processes:
        with pytest.raises(StageFailed):
            processes.run(Job(0, ("fails",)))
        with pytest.raises(StageError, match=r"stage dies of round 4 was killed \(SIGKILL\)"):
            processes.run(Job(4, ("dies",)))


@pytest.mark.parametrize("stages", [("train",), ("evaluate", "generate")])
def test_a_stage_that_is_never_told_to_go_touches_nothing(tmp_path: Path, stages: tuple[str, ...]) -> None:
    """Without a run in the folder it could do nothing else than fail."""
    command = [*STAGE_COMMAND, tmp_path, "0", *stages]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


LOADED = """
import sys
from pathlib import Path
from loop.folder import RunFolder
from loop.stage import load_libraries
load_libraries(RunFolder(Path(sys.argv[1])), tuple(sys.argv[2:]))
looked_for = {"vllm.v1.engine.async_llm", "trl.trainer.dpo_trainer", "loop.draft_stage", "loop.train_stage"}
print(*sorted(looked_for & {*sys.modules}))
"""


@pytest.mark.parametrize(
    ("stages", "loaded"),
    [
        (("train",), "loop.train_stage trl.trainer.dpo_trainer"),
        (("evaluate",), "loop.draft_stage vllm.v1.engine.async_llm"),
    ],
)
def test_a_process_that_waits_loads_what_its_stage_needs(tmp_path: Path, stages: tuple[str, ...], loaded: str) -> None:
    (tmp_path / "config.json").write_text('{"model": "demo/model"}')
    command = [sys.executable, "-c", LOADED, tmp_path, *stages]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip().splitlines()[-1] == loaded
