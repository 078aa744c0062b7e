"""How many places are given out, to whom, and what good replies and refusals make of it."""

from __future__ import annotations

import asyncio

import pytest

from generator.adaptive import FIRST, AdaptiveLimit


class Asked:
    """Calls that hold a place until they are let go; `entered` names them in the order they got one."""

    def __init__(self, limit: AdaptiveLimit) -> None:
        self.limit, self.entered, self.done, self.tasks = limit, [], {}, {}

    def call(self, name, stage=0):
        async def work():
            async with self.limit.place(stage) as epoch:
                self.entered.append(name)
                await self.done[name].wait()
                return epoch

        self.done[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(work())

    async def end(self, name):
        self.done[name].set()
        return await self.tasks[name]


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def test_places_are_bounded_and_go_to_the_highest_stage_first():
    async def work():
        asked = Asked(AdaptiveLimit(1))
        for name, stage in (("a", 0), ("b", 0), ("c", 3), ("d", 1), ("e", 3)):
            asked.call(name, stage)
        for _ in range(5):
            await settle()
            assert asked.limit.in_flight == 1
            await asked.end(asked.entered[-1])
        assert asked.limit.in_flight == 0
        return asked.entered

    assert asyncio.run(work()) == ["a", "c", "e", "d", "b"]


def test_it_begins_with_few_and_each_good_reply_adds_one_until_the_first_refusal():
    async def work():
        limit = AdaptiveLimit(50)
        assert limit.allowed == FIRST
        for _ in range(10):
            limit.grow()
        assert limit.allowed == FIRST + 10
        for _ in range(100):
            limit.grow()
        assert limit.allowed == 50
        limit.shrink(0)
        assert limit.allowed == 25
        for _ in range(25):  # one round of replies: about one place more
            limit.grow()
        assert limit.allowed == pytest.approx(26, abs=0.05)

    asyncio.run(work())


def test_refusals_of_calls_sent_together_halve_once_and_never_below_one_place():
    async def work():
        limit = AdaptiveLimit(8)
        asked = Asked(limit)
        for number in range(8):
            asked.call(number)
        await settle()
        for number in range(8):
            limit.shrink(await asked.end(number))
        assert (limit.allowed, limit.refusals) == (4.0, 1)
        for number in range(20):
            asked.call(f"later {number}")
            await settle()
            limit.shrink(await asked.end(f"later {number}"))
        assert limit.allowed == 1.0
        asked.call("last")
        await settle()
        assert asked.entered[-1] == "last"
        await asked.end("last")

    asyncio.run(work())


def test_a_hold_gives_out_no_place_until_it_is_over_and_a_later_one_prolongs_it():
    async def work():
        asked, clock = Asked(AdaptiveLimit(4)), asyncio.get_running_loop().time
        began = clock()
        asked.limit.hold(0.05)
        asked.limit.hold(0.2)
        asked.limit.hold(0.01)
        asked.call("a")
        await asyncio.sleep(0.1)
        assert asked.entered == []
        await asked.end("a")
        assert 0.19 <= clock() - began < 2

    asyncio.run(work())


@pytest.mark.parametrize("moment", ["waiting", "given a place"])
def test_a_cancelled_call_keeps_no_place(moment):
    async def work():
        asked = Asked(AdaptiveLimit(1))
        asked.call("a")
        asked.call("b")
        asked.call("c")
        await settle()
        if moment == "given a place":  # in the same step in which the place before it is given back
            asked.done["a"].set()
            await asyncio.sleep(0)
        asked.tasks["b"].cancel()
        asked.done["a"].set()
        await settle()
        assert asked.entered == ["a", "c"]
        await asked.end("c")
        assert asked.limit.in_flight == 0

    asyncio.run(work())
