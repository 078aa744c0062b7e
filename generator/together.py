"""Several questions asked at once, all of which are answered before the first fault ends the chain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from generator.engine import EngineFailedError, PromptTooLongError

Answer = TypeVar("Answer")
_OF_ONE_CHAIN = (EngineFailedError, PromptTooLongError)


async def together(work: Iterable[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """The results of all, in their order.

    A fault of one is raised when all have ended: what the others were answered is on the row by then, and no call goes
    on after its chain is over. Cancelled, it cancels all of them.
    """
    several = list(work)
    if len(several) == 1:
        return [await several[0]]
    found = await asyncio.gather(*several, return_exceptions=True)
    faults = [one for one in found if isinstance(one, BaseException)]
    if faults:
        # Of several, what ends the whole stage comes before what ends one chain.
        raise next((fault for fault in faults if not isinstance(fault, _OF_ONE_CHAIN)), faults[0])
    return [one for one in found if not isinstance(one, BaseException)]
