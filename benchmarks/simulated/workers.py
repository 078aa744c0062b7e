"""Workers in virtual time: chains of given lengths through the real lease book, reports through one driver."""

from __future__ import annotations

import heapq
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
    from generator.leases import LeaseBook

    draw = random.Random(1)
    total = workers * in_flight * max(4, 20_000 // (workers * in_flight))
    book: LeaseBook[int] = LeaseBook(((str(number), number) for number in range(total)), total)
    events: list[tuple[float, int, int, int]] = []  # when, order, worker, chain or -1 for a served report
    queued: list[list[int]] = [[] for _ in range(workers)]
    new: list[list[str]] = [[] for _ in range(workers)]
    busy, asked, ends = [0] * workers, [False] * workers, []
    free_at = served = 0.0
    order = iter(range(1 << 60))

    def fill(worker: int, now: float) -> None:
        while busy[worker] < in_flight and queued[worker]:
            busy[worker] += 1
            heapq.heappush(events, (now + draw.choice(durations), next(order), worker, queued[worker].pop()))

    def report(worker: int, now: float) -> None:
        nonlocal free_at, served
        asked[worker] = True
        seconds = (cost["us_per_report"] + cost["us_per_chain"] * len(new[worker])) / 1e6
        free_at, served = max(now, free_at) + seconds, served + seconds
        heapq.heappush(events, (free_at, next(order), worker, -1))

    for worker in range(workers):
        report(worker, 0.0)
    while events:
        now, _, worker, chain = heapq.heappop(events)
        if chain >= 0:
            busy[worker] -= 1
            new[worker].append(str(chain))
            ends.append(now)
        else:
            asked[worker] = False
            book.finish(str(worker), new[worker])
            new[worker] = []
            queued[worker] += book.hand_out(str(worker), in_flight + lease - len(book.held(str(worker))))
        fill(worker, now)
        if not asked[worker] and (len(new[worker]) >= lease or (new[worker] and not busy[worker])):
            report(worker, now)
    assert book.left == 0
    rate = (total // 2) / (ends[total * 3 // 4] - ends[total // 4])
    return {
        "workers": workers,
        "chains_per_second": round(rate, 1),
        "places_at_work": round(rate * sum(durations) / len(durations) / (workers * in_flight), 3),
        "driver_busy": round(served / ends[-1], 4),
    }
