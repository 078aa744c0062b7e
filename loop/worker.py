"""One worker of a spread stage: engines of its own, whole chains, rows into shards that nobody else writes.

Nothing here knows Ray; `loop/cluster.py` runs it as an actor, tests as a plain object.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from constitution.schema import Constitution
from generator.generate import Chain, run_one
from generator.method import Method
from generator.sources import PromptSet
from loop.config import RunConfig
from loop.draft_stage import generation, prove_drafters, rows_address
from loop.engines import Engines, open_engines
from loop.folder import RunFolder
from loop.inputs import Run
from records.chat import check_template
from records.rows import Pair, Reject
from records.worker_rows import WorkerRows, open_rows

MOST_SECONDS = 5.0
"""A report is made after so long at the latest, finished chains or not; it is a sign of life."""


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know of its stage; plain values, so that it can be sent anywhere."""

    config: dict[str, Any]
    folder: str
    constitution: dict[str, Any]
    round: int
    name: str
    """Of this start of the worker, and of the folder of its rows: never used twice."""
    start: int
    """How many starts of the stage's workers came before."""
    rows: str | None
    """The address that its rows go to, if not into the run folder."""
    cwd: str
    """The working directory of whoever began the stage; what a run file names by a relative path lies in it."""


def job_of(run: Run, index: int, name: str, start: int) -> Job:
    """What a worker is told of a round."""
    constitution, folder = run.constitution.model_dump(mode="json"), str(run.folder.path.resolve())
    config, rows = run.config.model_dump(mode="json"), rows_address(run, index)
    return Job(config, folder, constitution, index, name, start, rows, os.getcwd())


@dataclass(frozen=True)
class Report:
    """What a worker has done since its last report. `done` are ids of chains whose rows are safe."""

    done: tuple[str, ...] = ()
    pairs: int = 0
    rejects: int = 0
    output_tokens: int = 0
    wants: int = 0
    """Chains it could take now."""


@dataclass
class Worker:
    """Runs the chains that it is handed, as many at once as keep its engines full."""

    run: Run
    job: Job
    engines: Engines
    method: Method
    rows: WorkerRows
    in_flight: int = 0
    _queue: asyncio.Queue[Chain] = field(default_factory=asyncio.Queue)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _held: int = 0
    _new: list[Pair | Reject] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, job: Job, stream: IO[str]) -> Worker:
        """A worker for a job, its engines not yet started."""
        config = RunConfig.model_validate(job.config)
        # The prompts come with the leases; nothing else of a source is read here.
        run = Run(
            config, RunFolder(Path(job.folder)), Constitution.model_validate(job.constitution), PromptSet(), mode=""
        )
        engines = open_engines(run, job.round, ("generate",), stream, start=job.start)
        rows = open_rows(job.rows, run.folder.round(job.round), job.name)
        method, _ = generation(run, job.round, engines)
        return cls(run, job, engines, method, rows)

    async def start(self, stream: IO[str]) -> dict[str, Any]:
        """Bring the engines up and prove that all who draft speak as they were trained; returns that proof.

        Raises:
            ConfigError: a model is not there, or an endpoint refuses key, address or model.
            StageError: vLLM cannot be started, or it serves other weights.
        """
        await self.engines.start(stream)
        check_template(self.engines.policy.tokenizer)
        proof = await prove_drafters(self.run, self.job.round, self.engines)
        _, self.in_flight = generation(self.run, self.job.round, self.engines)  # how much they take is known by now
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self.in_flight)]
        return proof

    @property
    def wants(self) -> int:
        """Chains it could take: those in flight, and a lease that waits so that none of their places is ever empty."""
        return max(0, self.in_flight + self.run.config.scale.lease - self._held)

    async def exchange(self, lease: Sequence[Chain]) -> Report:
        """Take more chains, and report as soon as there is a lease's worth of news, or after `MOST_SECONDS`.

        Raises:
            StageError: rows cannot be written, or an engine or endpoint is gone for good.
        """
        for chain in lease:
            self._held += 1
            self._queue.put_nowait(chain)
        news = self.run.config.scale.lease
        try:
            async with asyncio.timeout(MOST_SECONDS):
                while len(self._new) < min(news, self._held):
                    await self._wait()
        except TimeoutError:
            pass
        return await self._report()

    async def _wait(self) -> None:
        """Until a chain is finished; the error of one that failed is raised here."""
        for task in self._tasks:
            if task.done():
                task.result()
        self._changed.clear()
        await self._changed.wait()

    async def _report(self) -> Report:
        for task in self._tasks:
            if task.done():
                task.result()
        new, self._new = self._new, []
        self._held -= len(new)
        done = await asyncio.to_thread(self.rows.settle, all=self._held == 0)
        return Report(
            done=tuple(done),
            pairs=sum(isinstance(row, Pair) for row in new),
            rejects=sum(isinstance(row, Reject) for row in new),
            output_tokens=sum(entry.output_tokens for row in new for entry in row.trail),
            wants=self.wants,
        )

    async def _work(self) -> None:
        """One chain after the other, until cancelled."""
        try:
            while True:
                outcome = await run_one(*await self._queue.get(), self.method)
                self.rows.append(outcome)
                self._new.append(outcome)
                self._changed.set()
        finally:
            self._changed.set()

    async def stop(self, *, free: bool) -> dict[str, Any]:
        """Drop what is in flight, make the rows safe, free the engines if asked; returns the engines' figures."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.rows.close)
        if free:
            await self.engines.close()
        return self.engines.figures
