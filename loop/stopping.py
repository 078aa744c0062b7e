"""How a run is asked to stop: by Ctrl-C (exit 130), or by SIGTERM, as schedulers and containers do (exit 143)."""

from __future__ import annotations

import signal
from typing import NoReturn

INTERRUPTED, TERMINATED = 130, 143


class Terminated(BaseException):
    """SIGTERM came. Not an `Exception`, like `KeyboardInterrupt`, so that nothing takes it for a fault."""


def raise_on_sigterm() -> None:
    """From now on SIGTERM raises `Terminated` in the main thread of this process."""
    signal.signal(signal.SIGTERM, _raise)


def _raise(number: int, frame: object) -> NoReturn:
    raise Terminated
