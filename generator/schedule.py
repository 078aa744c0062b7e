"""Many chains in flight at once, bounded; one outcome each, in the order they finish."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

Work = TypeVar("Work")
Outcome = TypeVar("Outcome")
_OBJECTS_BETWEEN_SEARCHES = 20_000
"""Of those that may be garbage; so many take some 10 MB."""


async def run_bounded(
    work: Iterable[Work], run: Callable[[Work], Coroutine[Any, Any, Outcome]], *, in_flight: int
) -> AsyncGenerator[Outcome, None]:
    """Yield `await run(unit)` for every unit of work, at most `in_flight` at a time, as they finish.

    There is no barrier: a slow unit holds back nothing but its own slot, and the last partial batch is no special
    case because there are no batches. An exception of one unit cancels the others and is raised here.
    """
    assert in_flight >= 1, in_flight
    waiting: Iterator[Work] = iter(work)
    running: set[asyncio.Task[Outcome]] = set()
    finished: asyncio.Queue[asyncio.Task[Outcome]] = asyncio.Queue()

    def fill() -> None:
        while len(running) < in_flight:
            try:
                unit = next(waiting)
            except StopIteration:
                return
            task = asyncio.create_task(run(unit))
            running.add(task)
            task.add_done_callback(finished.put_nowait)

    # What is there by now stays: walking through all of torch and vLLM for garbage is a tenth of a chain's own work.
    # Looking at the chains in flight after every 700 new objects is another; chains leave no cycles to speak of.
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BETWEEN_SEARCHES, *thresholds[1:])
    try:
        fill()
        while running:
            task = await finished.get()
            running.discard(task)
            fill()
            yield task.result()
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
