"""The bound on chains in flight: kept, always filled, and nothing lost at either end."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

from generator.schedule import run_bounded


async def collect(work, run, in_flight):
    return [outcome async for outcome in run_bounded(work, run, in_flight=in_flight)]


@pytest.mark.parametrize("count", [0, 1, 4, 7, 8, 9, 103])
def test_every_unit_once_and_never_too_many_at_once(count):
    state = {"now": 0, "most": 0}
    random.seed(count)

    async def run(unit):
        state["now"] += 1
        state["most"] = max(state["most"], state["now"])
        for _ in range(random.randrange(1, 5)):
            await asyncio.sleep(0)
        state["now"] -= 1
        return unit

    found = asyncio.run(collect(iter(range(count)), run, 8))
    assert sorted(found) == list(range(count))
    assert state["most"] == min(count, 8)


def test_a_slow_unit_holds_back_its_own_slot_alone():
    async def go():
        release = asyncio.Event()

        async def run(unit):
            if unit == 0:
                await release.wait()
            if unit == 19:
                release.set()
            return unit

        return await collect(range(20), run, 2)

    assert asyncio.run(go()) == [*range(1, 20), 0]


def test_an_exception_surfaces_and_cancels_the_others():
    async def go():
        ended = []

        async def run(unit):
            try:
                await asyncio.sleep(0 if unit == 1 else 60)
            except asyncio.CancelledError:
                ended.append(unit)
                raise
            raise RuntimeError("one chain broke")

        with pytest.raises(RuntimeError, match="one chain broke"):
            await collect(range(100), run, 4)
        return ended

    # Of the 4 in flight one broke; the one that took its place had not yet begun.
    assert set(asyncio.run(asyncio.wait_for(go(), 10))) == {0, 2, 3}


def test_leaving_early_cancels_what_is_in_flight():
    async def go():
        ended = []

        async def run(unit):
            try:
                await asyncio.sleep(0 if unit == 0 else 60)
            except asyncio.CancelledError:
                ended.append(unit)
                raise
            return unit

        outcomes = run_bounded(range(3), run, in_flight=3)
        assert await anext(outcomes) == 0
        await outcomes.aclose()
        return ended

    assert sorted(asyncio.run(asyncio.wait_for(go(), 10))) == [1, 2]


@pytest.mark.parametrize("in_flight", [0, -1])
def test_no_slot_at_all_is_a_bug_not_an_empty_result(in_flight):
    async def run(unit):
        return unit

    with pytest.raises(AssertionError):
        asyncio.run(collect([1], run, in_flight))


def test_what_was_there_before_is_not_searched_for_garbage_until_the_end():
    async def run(unit):
        return gc.get_freeze_count()

    assert min(asyncio.run(collect(range(3), run, 2))) > 0
    assert gc.get_freeze_count() == 0
