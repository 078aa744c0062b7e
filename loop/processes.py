"""Stages as processes of their own, one at work at a time; the next may be started early and wait for its turn.

A process that waits has imported what its stage needs, which takes vLLM or the trainer ten seconds of one core, and has
done nothing else: it reads the run folder, and touches the accelerator, once it is told to go.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import NamedTuple

from loop.folder import RunFolder
from loop.orphans import PARENT
from loop.stopping import INTERRUPTED, TERMINATED, Terminated
from records.errors import StageError, StageFailed

# Schedulers kill what has not ended after ten seconds or more; the command has to say its last line before that.
_SECONDS_TO_STOP = 8.0
STAGE_COMMAND = (sys.executable, "-m", "loop.stage")


class Job(NamedTuple):
    """What one process does: stages of a round."""

    round: int
    stages: tuple[str, ...]


class StageProcesses:
    """The processes of one run; leaving the context ends the one that waits."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._waiting: tuple[Job, subprocess.Popen[bytes]] | None = None

    def __enter__(self) -> StageProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_waiting()

    def run(self, job: Job, then: Job | None = None) -> None:
        """Run stages in a process of their own, to its end.

        Args:
            job: what is done.
            then: what will probably be done after it; its process starts now and waits.

        Raises:
            StageFailed: the process ended with another status than 0.
            StageError: it was killed.
            KeyboardInterrupt, Terminated: somebody asked to stop.
        """
        child = self._take(job)
        assert child.stdin is not None
        with suppress(BrokenPipeError):  # it is dead, which is told below
            child.stdin.write(b"go\n")
            child.stdin.close()
        if then is not None:
            self._waiting = then, self._start(then)
        _raise_for(_wait(child), self._folder, job)

    def _take(self, job: Job) -> subprocess.Popen[bytes]:
        """The process that waits for this job, or a new one."""
        if self._waiting is not None and self._waiting[0] == job and self._waiting[1].poll() is None:
            (_, child), self._waiting = self._waiting, None
            return child
        self._end_waiting()
        return self._start(job)

    def _start(self, job: Job) -> subprocess.Popen[bytes]:
        command = [*STAGE_COMMAND, str(self._folder.path), str(job.round), *job.stages]
        # A session of its own: Ctrl-C reaches this process alone, which then lets the stage finish its writing.
        environment = {**os.environ, PARENT: str(os.getpid())}
        return subprocess.Popen(command, env=environment, start_new_session=True, stdin=subprocess.PIPE)

    def _end_waiting(self) -> None:
        if self._waiting is not None:
            (_, child), self._waiting = self._waiting, None
            child.kill()
            child.communicate()


def _raise_for(status: int, folder: RunFolder, job: Job) -> None:
    if status < 0:
        log = folder.path / "logs" / f"{'_'.join(job.stages)}_{job.round:02d}.log"
        raise StageError(
            f"stage {' and '.join(job.stages)} of round {job.round} was killed ({signal.Signals(-status).name}); "
            f"expected it to end by itself. {log} has its last words (no memory left?). "
            "Finished rows are safe: run the same command again and it goes on from there."
        )
    if status in (INTERRUPTED, TERMINATED):  # somebody stopped the stage and not this process
        raise KeyboardInterrupt if status == INTERRUPTED else Terminated
    if status:
        raise StageFailed(status)


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for a stage; a request to stop is passed on once.

    Every finished row is on disk already, so a stage that has not ended some seconds later, or when a second request
    comes, is killed.
    """
    try:
        return child.wait()
    except (KeyboardInterrupt, Terminated):
        child.terminate()
        try:
            child.wait(_SECONDS_TO_STOP)
        except (KeyboardInterrupt, Terminated, subprocess.TimeoutExpired):
            child.kill()
            child.wait()
        raise
