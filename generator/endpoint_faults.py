"""What can go wrong with one request to an endpoint, told apart by what may be done about it."""

from __future__ import annotations


class Hopeless(Exception):
    """No call will ever succeed: address, key, model or certificate is wrong. The words end with what to do."""


class NotNow(Exception):
    """The endpoint takes no call: down, or refusing for load. `wait` is what it asks for in seconds, if anything."""

    def __init__(self, words: str, *, for_load: bool = False, wait: float | None = None) -> None:
        super().__init__(words)
        self.for_load, self.wait = for_load, wait


class NoReply(Exception):
    """This attempt gave nothing usable; another may."""


class CallRefused(Exception):
    """The endpoint refuses this very call; it would refuse it again."""
