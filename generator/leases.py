"""Who holds which chains: the book of one stage whose chains are run by several workers.

A chain waits, is held by exactly one worker under a lease, or is done. What a dead worker held goes back to the front
of the queue. A worker that was thought dead may still report; a chain it finished counts if nobody else has finished
it, and is a duplicate where somebody has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

Unit = TypeVar("Unit")


class LeaseBook(Generic[Unit]):
    """What each chain's state is, by id; nothing here knows how work is done or sent."""

    def __init__(self, units: Mapping[str, Unit]) -> None:
        """Begin with all chains waiting.

        Args:
            units: what is handed out, by the id of its chain; in the order in which it is.
        """
        self._units = units
        self._waiting = deque(units)
        self._held: dict[str, set[str]] = {}
        self._done: set[str] = set()
        self.duplicates = 0
        """Chains that were reported done when they were done already."""
        self.given_back = 0
        """Chains that were handed out and came back unfinished."""

    @property
    def left(self) -> int:
        """Chains that are not done, held ones with them."""
        return len(self._units) - len(self._done)

    @property
    def waiting(self) -> int:
        """Chains that can be handed out now; some may be done meanwhile, and are then passed over."""
        return len(self._waiting)

    def held(self, worker: str) -> frozenset[str]:
        """Chains that a worker has and has not reported."""
        return frozenset(self._held.get(worker, ()))

    def hand_out(self, worker: str, most: int) -> list[Unit]:
        """The next chains for a worker, at most so many; they are its own until it finishes them or is given up."""
        held = self._held.setdefault(worker, set())
        lease: list[Unit] = []
        while self._waiting and len(lease) < most:
            id = self._waiting.popleft()
            if id not in self._done:
                held.add(id)
                lease.append(self._units[id])
        return lease

    def finish(self, worker: str, ids: Iterable[str]) -> int:
        """A worker says that rows of these chains are on disk; returns how many of them were not done yet.

        Ids that were never asked for (rows of prompts that the run does not have) count as nothing.
        """
        new = 0
        held = self._held.get(worker, set())
        for id in ids:
            held.discard(id)
            if id in self._done:
                self.duplicates += 1
            elif id in self._units:
                self._done.add(id)
                new += 1
        return new

    def give_back(self, worker: str) -> int:
        """Take from a worker all that it holds; others get it before anything else. Returns how much came back."""
        back = [id for id in self._held.pop(worker, ()) if id not in self._done]
        self._waiting.extendleft(back)
        self.given_back += len(back)
        return len(back)
