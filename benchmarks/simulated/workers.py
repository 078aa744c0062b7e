"""Workers in virtual time: chains of given lengths through the real lease book, reports through one driver."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from typing import Any


def chain_seconds(calls: list[list[Any]], speed: dict[str, float]) -> float:
    """How long a chain takes: calls of one kind go at once (the longest counts), revisions one after the other."""
    groups: dict[str, list[float]] = defaultdict(list)
    for kind, prompt_tokens, cached, output in calls:
        tokens = speed["token_scale"] * output
        prefill = speed["token_scale"] * (prompt_tokens - cached) / speed["prefill_tokens_per_second"]
        groups[kind].append(prefill + tokens / speed["tokens_per_second"])
    return sum(sum(times) if kind in "rk" else max(times) for kind, times in groups.items())


def simulate(
    workers: int, durations: list[float], cost: dict[str, float], *, in_flight: int, lease: int
) -> dict[str, float]:
    """N workers in virtual time; a report is served after those before it, for as long as was measured.

    Returns, for the middle half of the chains, those finished a second, the share of places in the engines that were at
    work, and the share of the time that the driver was.
    """
    total = workers * in_flight * max(4, 20_000 // (workers * in_flight))
    run = _Simulation(workers, durations, cost, in_flight=in_flight, lease=lease, total=total)
    run.play()
    rate = (total // 2) / (run.ends[total * 3 // 4] - run.ends[total // 4])
    return {
        "workers": workers,
        "chains_per_second": round(rate, 1),
        "places_at_work": round(rate * sum(durations) / len(durations) / (workers * in_flight), 3),
        "driver_busy": round(run.served / run.ends[-1], 4),
    }


class _Simulation:
    """Places, queues and news of every worker, and what happens to them in the order of a clock."""

    def __init__(
        self,
        workers: int,
        durations: list[float],
        cost: dict[str, float],
        *,
        in_flight: int,
        lease: int,
        total: int,
    ) -> None:
        from generator.leases import LeaseBook

        self.durations, self.cost, self.in_flight, self.lease = durations, cost, in_flight, lease
        self.book: LeaseBook[int] = LeaseBook(((str(number), number) for number in range(total)), total)
        self.events: list[tuple[float, int, int, int]] = []  # when, order, worker, chain or -1 for a served report
        self.queued: list[list[int]] = [[] for _ in range(workers)]
        self.new: list[list[str]] = [[] for _ in range(workers)]
        self.busy, self.asked = [0] * workers, [False] * workers
        self.ends: list[float] = []
        self.free_at = self.served = 0.0
        self._draw, self._order = random.Random(1), itertools.count()

    def play(self) -> None:
        for worker in range(len(self.busy)):
            self._report(worker, 0.0)
        while self.events:
            now, _, worker, chain = heapq.heappop(self.events)
            if chain >= 0:
                self.busy[worker] -= 1
                self.new[worker].append(str(chain))
                self.ends.append(now)
            else:
                self._serve(worker)
            self._fill(worker, now)
            new = self.new[worker]
            if not self.asked[worker] and (len(new) >= self.lease or (new and not self.busy[worker])):
                self._report(worker, now)
        assert self.book.left == 0

    def _fill(self, worker: int, now: float) -> None:
        while self.busy[worker] < self.in_flight and self.queued[worker]:
            self.busy[worker] += 1
            chain = self.queued[worker].pop()
            heapq.heappush(self.events, (now + self._draw.choice(self.durations), next(self._order), worker, chain))

    def _report(self, worker: int, now: float) -> None:
        self.asked[worker] = True
        seconds = (self.cost["us_per_report"] + self.cost["us_per_chain"] * len(self.new[worker])) / 1e6
        self.free_at, self.served = max(now, self.free_at) + seconds, self.served + seconds
        heapq.heappush(self.events, (self.free_at, next(self._order), worker, -1))

    def _serve(self, worker: int) -> None:
        self.asked[worker] = False
        self.book.finish(str(worker), self.new[worker])
        self.new[worker] = []
        wanted = self.in_flight + self.lease - len(self.book.held(str(worker)))
        self.queued[worker] += self.book.hand_out(str(worker), wanted)
