"""The generate stage on several workers: leases out, reports in, until every chain has its row.

Nothing here knows Ray: workers are reached through `Hand`. A worker that dies, or is silent too long, loses what it
held; others get it, and the worker is started again under a new name, so that no two starts write one file.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from generator.generate import Chain
from generator.leases import LeaseBook
from loop.scale_config import ScaleConfig
from loop.worker import Job, Report
from records.errors import StageError
from records.progress import Progress
from records.worker_rows import collect, own_ids

SECONDS_TO_STOP = 5.0
"""After a request to stop, workers have so long to finish writing."""
SECONDS_TO_CLOSE = 60.0
"""At the end of a stage workers have so long to free their engines."""


def _together(endpoints: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of all workers' critics at an endpoint: counts added up, what differs side by side."""
    counts = Counter[str]()
    for figures in endpoints:
        counts.update({name: value for name, value in figures.items() if isinstance(value, int)})
    kinds = {name for figures in endpoints for name, value in figures.items() if not isinstance(value, int)}
    words = {name: sorted({str(figures[name]) for figures in endpoints}) for name in sorted(kinds)}
    return {**{name: ", ".join(found) for name, found in words.items()}, **counts}


class WorkerDiedError(Exception):
    """A worker is gone: its process, its machine, or the way to it."""


class Hand(Protocol):
    """One start of a worker, as the stage sees it. All but `kill` raise `WorkerDiedError` when it is gone."""

    log: Path

    async def start(self) -> tuple[dict[str, Any], int]:
        """Bring its engines up; the proof that they speak as the adapters' trainer, and how many chains it wants."""
        ...

    async def exchange(self, lease: Sequence[Chain]) -> Report:
        """Hand it chains, wait for its next report."""
        ...

    async def stop(self, *, free: bool) -> dict[str, Any]:
        """Have it finish writing, and free its engines if asked; returns the engines' figures."""
        ...

    def kill(self) -> None:
        """End it, whatever it does."""
        ...


class Spread:
    """One stage on several workers; what `generator.generate.Elsewhere` asks for."""

    def __init__(
        self,
        scale: ScaleConfig,
        job: Callable[[str, int], Job],
        hire: Callable[[Job], Hand],
        folder: Path,
        left_at: str | None = None,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            scale: how many workers, and how patiently they are treated.
            job: what a start of a worker is told, from its name and its number.
            hire: begins a worker.
            folder: the round's.
            left_at: the address that workers put their rows to, if not into the folder.
        """
        self.scale, self.folder, self.left_at = scale, folder, left_at
        self._job, self._hire = job, hire
        self._starts = count()
        self._hands: dict[str, Hand] = {}
        self._up: set[str] = set()
        self.book = LeaseBook[Chain]((), 0)
        self._stirred = asyncio.Event()
        self.deaths = self.given_back = self.duplicates = 0
        self.proof: dict[str, Any] = {}
        self.engine_figures: list[dict[str, Any]] = []

    async def collect(self) -> None:
        """See `Elsewhere.collect`."""
        await asyncio.to_thread(collect, self.folder, self.left_at)

    async def run(self, chains: Iterator[tuple[str, Chain]], total: int, there: Counter[str], display: Progress) -> int:
        """See `Elsewhere.run`.

        Raises:
            StageError: rows cannot be written or found, or a worker died more often in a row than it may.
            ConfigError: a worker found that its model or endpoint cannot be used.
            DamagedShardError: a worker's rows are none.
        """
        self.book, self._shown, self._began = LeaseBook(chains, total), there, time.monotonic()
        self._hands, self._up = {}, set()
        if not total:
            return 0
        closed: set[str] = set()
        workers = min(self.scale.workers, total)
        slots = [asyncio.create_task(self._keep(number, display)) for number in range(workers)]
        at_the_end = False
        try:
            done, _ = await asyncio.wait(slots, return_when=asyncio.FIRST_COMPLETED)
            for slot in done:
                slot.result()
            at_the_end = True
        finally:
            for slot in slots:
                slot.cancel()
            await asyncio.gather(*slots, return_exceptions=True)
            closed = await self._stop_all(free=at_the_end)
            self.given_back += self.book.given_back
        collected = await asyncio.to_thread(collect, self.folder, self.left_at, closed)
        self.duplicates += collected.duplicates
        self._tell_lost(collected.rows, total, display)
        return collected.rows

    def _tell_lost(self, rows: int, total: int, display: Progress) -> None:
        """Say that rows are lost; where most are, none may ever reach the run folder, and that is an error."""
        if 2 * rows < total:
            raise StageError(
                f"{self.folder}: workers said that {total} rows are safe; found {rows}. Expected the run folder on a "
                "file system that all machines share, or scale.rows, an address that all of them reach. Mend that, "
                "then run the same command again: it makes the rows that are not there."
            )
        if rows < total:
            display.note(
                f"{total - rows} rows that workers had made are lost (a machine went down?); they are made again"
            )

    @property
    def figures(self) -> dict[str, Any]:
        """What the stage's marker says of its workers."""
        restarts: Counter[str] = Counter()
        for figures in self.engine_figures:
            restarts.update({name: value for name, value in figures.items() if isinstance(value, int)})
        endpoints = [figures["critic_endpoint"] for figures in self.engine_figures if "critic_endpoint" in figures]
        return {
            "engine_restarts": restarts["engine_restarts"],
            **({"critic_endpoint": _together(endpoints)} if endpoints else {}),
            "workers": self.scale.workers,
            "worker_deaths": self.deaths,
            "chains_given_back": self.given_back,
            "duplicate_rows": self.duplicates,
            **self.proof,
        }

    async def _keep(self, number: int, display: Progress) -> None:
        """Keep one worker at work until all chains are done; start it again when it dies."""
        in_a_row = 0
        while self.book.left:
            start = next(self._starts)
            name = f"{number:04d}-{secrets.token_hex(4)}"
            hand = self._hands[name] = self._hire(self._job(name, start))
            try:
                async for new in self._work(name, hand, display):
                    in_a_row = 0 if new else in_a_row
            except (WorkerDiedError, TimeoutError) as error:
                in_a_row += 1
                await self._give_up(name, hand, display)
                words = str(error).strip().splitlines() or [f"no report in {self.scale.silence_s:.0f} s"]
                display.note(f"worker {number} died ({words[0]}); its log: {hand.log}")
                if in_a_row > self.scale.deaths:
                    raise StageError(
                        f"worker {number} died {in_a_row} times with no chain finished between ({words[0]}). Finished "
                        f"rows are safe. {hand.log} has its last words (no memory left?); mend that, then run the same "
                        "command again."
                    ) from error

    async def _work(self, name: str, hand: Hand, display: Progress) -> AsyncGenerator[int, None]:
        """Yield how many chains each report brought, until none is left."""
        proof, wants = await hand.start()
        self._up.add(name)
        self.proof = self.proof or proof
        while self.book.left:
            lease = self.book.hand_out(name, wants)
            if not lease and not self.book.held(name):
                await self._stirred.wait()  # the last chains are others'; some may come back
                continue
            async with asyncio.timeout(self.scale.silence_s):
                report = await hand.exchange(lease)
            new, wants = self.book.finish(name, report.done), report.wants
            self._show(report, new, display)
            if not self.book.left:
                self._stir()
            yield new

    def _show(self, report: Report, new: int, display: Progress) -> None:
        self._shown.update(pairs=report.pairs, rejects=report.rejects, tokens=report.output_tokens)
        display.advance(
            new,
            pairs=self._shown["pairs"],
            rejects=self._shown["rejects"],
            tokens_per_second=round(self._shown["tokens"] / (time.monotonic() - self._began)),
            workers=len(self._up),
        )

    def _stir(self) -> None:
        """Wake whoever waits for chains, each once."""
        stirred, self._stirred = self._stirred, asyncio.Event()
        stirred.set()

    async def _give_up(self, name: str, hand: Hand, display: Progress) -> None:
        """Take from a worker all it held, but for the chains whose rows it left behind."""
        self.deaths += 1
        hand.kill()
        self._hands.pop(name)
        self._up.discard(name)
        if self.left_at is None:
            rows = await asyncio.to_thread(own_ids, self.folder, name)
            display.advance(self.book.finish(name, rows & self.book.held(name)))
        self.book.give_back(name)
        self._stir()

    async def _stop_all(self, *, free: bool) -> set[str]:
        """End all workers; returns the names of those that have said that their rows are closed.

        Freeing engines takes a while. Asked to stop, or after an error, they end with their workers instead.
        """
        stopped = await asyncio.gather(*(self._stop(name, free) for name in sorted(self._up)))
        for hand in self._hands.values():
            hand.kill()
        return {name for name in stopped if name}

    async def _stop(self, name: str, free: bool) -> str:
        hand = self._hands[name]
        with suppress(WorkerDiedError, TimeoutError, StageError):
            async with asyncio.timeout(SECONDS_TO_CLOSE if free else SECONDS_TO_STOP):
                self.engine_figures.append(await hand.stop(free=free))
            return name
        return ""
