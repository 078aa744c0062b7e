"""How many calls an endpoint is sent at once: found out by asking, since nobody says what it can take.

Additive increase, multiplicative decrease, as TCP does (Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988):
one place more after each round of good replies, half the places after a refusal for load. Until the first refusal every
good reply adds a place, so an endpoint that can take many is soon given many.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

FIRST = 8
"""Calls in flight at the beginning."""


class AdaptiveLimit:
    """Places for calls in flight; waiting calls of a higher stage get one first, then the longest-waiting."""

    def __init__(self, most: int) -> None:
        """Begin with `FIRST` places and never give more than `most`."""
        self.most = most
        self.allowed = float(min(FIRST, most))
        self.in_flight = 0
        self.refusals = 0
        self._epoch = 0
        self._held_until = 0.0
        self._arrivals = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def place(self, stage: int) -> AsyncIterator[int]:
        """Hold a place; yields what `shrink` wants to know of it."""
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-stage, next(self._arrivals), turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # given a place in the moment it was cancelled
                self._leave()
            raise
        try:
            yield self._epoch
        finally:
            self._leave()

    def grow(self) -> None:
        """A good reply came."""
        self.allowed = min(self.most, self.allowed + (1 / self.allowed if self.refusals else 1))
        self._admit()

    def shrink(self, epoch: int) -> None:
        """The endpoint refused a call for load; the calls sent before the last halving halve nothing more."""
        if epoch == self._epoch:
            self._epoch += 1
            self.refusals += 1
            self.allowed = max(1.0, self.allowed / 2)

    def hold(self, seconds: float) -> None:
        """Give out no place for so long; what is in flight goes on."""
        loop = asyncio.get_running_loop()
        self._held_until = max(self._held_until, loop.time() + seconds)
        loop.call_at(self._held_until, self._let_go, self._held_until)

    def _let_go(self, held_until: float) -> None:
        if held_until == self._held_until:  # no later hold has come since
            self._held_until = 0.0
            self._admit()

    def _leave(self) -> None:
        self.in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        if self._held_until:
            return
        while self._waiting and self.in_flight < int(self.allowed):
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
