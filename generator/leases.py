"""Who holds which chains: the book of one stage whose chains are run by several workers.

A chain waits, is held by exactly one worker under a lease, or is done. What a dead worker held goes before all others.
A worker that was thought dead may still report; a chain it finished counts if nobody else has finished it, and is a
duplicate where somebody has.

The book holds what is out, and what came back: chains that nobody has had are read one at a time, and of those that are
done only the number stays. So it is as large as what the workers hold, however many chains a stage has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

Unit = TypeVar("Unit")


class LeaseBook(Generic[Unit]):
    """What each chain's state is, by id; nothing here knows how work is done or sent."""

    def __init__(self, units: Iterable[tuple[str, Unit]], total: int) -> None:
        """Begin with all chains waiting.

        Args:
            units: what is handed out, each with the id of its chain, no id twice; in the order in which it is.
            total: how many there are.
        """
        self._unseen = iter(units)
        self._back: dict[str, Unit] = {}
        self._out: dict[str, Unit] = {}
        self._held: dict[str, set[str]] = {}
        self.left = total
        """Chains that are not done, held ones with them."""
        self.duplicates = 0
        """Reports of chains that were done already, or that nobody was ever handed."""
        self.given_back = 0
        """Chains that were handed out and came back unfinished."""

    @property
    def waiting(self) -> int:
        """Chains that can be handed out now."""
        return self.left - len(self._out)

    def held(self, worker: str) -> frozenset[str]:
        """Chains that a worker has and has not reported."""
        return frozenset(self._held.get(worker, ()))

    def hand_out(self, worker: str, most: int) -> list[Unit]:
        """The next chains for a worker, at most so many; they are its own until it finishes them or is given up."""
        held = self._held.setdefault(worker, set())
        lease: list[Unit] = []
        while len(lease) < most and (found := self._next()):
            id, unit = found
            self._out[id] = unit
            held.add(id)
            lease.append(unit)
        return lease

    def _next(self) -> tuple[str, Unit] | None:
        if self._back:
            id = next(iter(self._back))
            return id, self._back.pop(id)
        return next(self._unseen, None)

    def finish(self, worker: str, ids: Iterable[str]) -> int:
        """A worker says that rows of these chains are on disk; returns how many of them were not done yet."""
        new = 0
        held = self._held.get(worker, set())
        for id in ids:
            held.discard(id)
            known = self._out if id in self._out else self._back
            if id in known:
                del known[id]
                new += 1
            else:
                self.duplicates += 1
        self.left -= new
        return new

    def give_back(self, worker: str) -> int:
        """Take from a worker all that it holds; others get it before anything else. Returns how much came back."""
        back = [id for id in self._held.pop(worker, ()) if id in self._out]
        self._back |= {id: self._out.pop(id) for id in back}
        self.given_back += len(back)
        return len(back)
