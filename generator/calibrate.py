"""A few chains run for real, and timed with the engines as full as a whole round keeps them.

The chains of some prompts are followed to their end: what they cost in calls and tokens, and what came of them. They go
first. Other prompts' chains, the load, run beside and after them, so that the engines are as busy as in a whole round;
of the load only the moments count at which its chains end. When the followed chains are done and as many chains have
ended twice as are in flight at once, the rest is dropped. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Any, Literal

from generator.generate import run_one
from generator.method import Method
from generator.schedule import run_bounded
from records.digest import digest_json
from records.progress import Progress
from records.rows import Pair, Prompt, Reject
from records.strict import Strict


class Usage(Strict):
    """Calls of one kind in a chain, and their tokens."""

    calls: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0


class ChainCost(Strict):
    """One followed chain: what it took by the kind of its calls, and `pair` or the reason why there is none."""

    prompt_id: str
    outcome: str
    usage: dict[str, Usage]

    def total(self, name: Literal["calls", "prompt_tokens", "output_tokens"]) -> int:
        """Over all kinds of calls."""
        return sum(getattr(usage, name) for usage in self.usage.values())


class Calibration(Strict):
    """What was seen: `ends` are seconds from the first chain's beginning, in order, of every chain that ended."""

    start_seconds: float
    """From the process's beginning until the engines were ready."""
    in_flight: int
    """Chains at work at once, as in a whole round."""
    prompts: int
    chains: tuple[ChainCost, ...]
    ends: tuple[float, ...]
    loaded: bool
    """Whether the engines were kept as full as in a whole round."""


def choose_followed(prompts: Sequence[Prompt], count: int, seed: int) -> list[Prompt]:
    """Prompts that stand for all: evenly spaced over an order by source, by what is wanted, and by length.

    Drawn so, each kind of prompt has its share. The first place is drawn by the seed.

    Args:
        prompts: all prompts of a round.
        count: how many; all where there are no more.
        seed: the run's.
    """
    places = {prompt.id: digest_json(["calibration", seed, prompt.id]) for prompt in prompts}
    ordered = sorted(prompts, key=lambda one: (one.source, str(one.benign), _length(one), places[one.id]))
    if count >= len(ordered):
        return ordered
    first = int(digest_json(["calibration", seed])[:15], 16) / 16**15
    return [ordered[int((place + first) * len(ordered) / count)] for place in range(count)]


def _length(prompt: Prompt) -> int:
    return sum(len(turn.content) for turn in prompt.messages)


@dataclass(frozen=True)
class Plan:
    """Which chains run, and how many of them at once."""

    followed: Sequence[Prompt]
    """Prompts whose chains are followed to their end."""
    load: Sequence[Prompt]
    """Prompts of the chains beside them, over again where they are too few; none runs no load."""
    chains: int
    """Chains of each followed prompt."""
    in_flight: int
    """Most chains at work at once; as in a whole round."""
    most: int
    """Chains of a whole round; more than these are not begun, but for the followed ones."""
    seconds: float
    """After these, only the followed chains are waited for."""


async def follow_chains(
    plan: Plan, method: Method, display: Progress
) -> tuple[tuple[ChainCost, ...], tuple[float, ...]]:
    """Run the followed chains, and the load beside them.

    Args:
        plan: which chains.
        method: as in a whole round.
        display: progress, counted in followed chains.

    Returns:
        The followed chains, and when each chain of either kind ended.
    """
    wanted = len(plan.followed) * plan.chains
    work = islice(_work(plan), max(plan.most, wanted))
    costs: list[ChainCost] = []
    ends: list[float] = []
    began = time.monotonic()
    async with aclosing(run_bounded(work, _runner(method), in_flight=plan.in_flight)) as outcomes:
        async for is_followed, row in outcomes:
            ends.append(time.monotonic() - began)
            if is_followed:
                costs.append(cost_of(row))
                display.advance(1, beside=len(ends) - len(costs))
            if len(costs) == wanted and (len(ends) >= 2 * plan.in_flight or ends[-1] >= plan.seconds):
                break
    return tuple(costs), tuple(ends)


def _work(plan: Plan) -> Iterator[tuple[bool, Prompt, int]]:
    """Whether a chain is followed, its prompt, and its number, with which principles are drawn anew."""
    followed = ((True, prompt, index) for index in range(plan.chains) for prompt in plan.followed)
    return chain(followed, ((False, prompt, 0) for prompt in cycle(plan.load)))


def _runner(method: Method) -> Callable[[tuple[bool, Prompt, int]], Coroutine[Any, Any, tuple[bool, Pair | Reject]]]:
    async def run(unit: tuple[bool, Prompt, int]) -> tuple[bool, Pair | Reject]:
        is_followed, prompt, index = unit
        return is_followed, await run_one(prompt, index, method)

    return run


def cost_of(row: Pair | Reject) -> ChainCost:
    """What a chain took, by the kind of its calls."""
    usage: dict[str, Usage] = {}
    for entry in row.trail:
        known = usage.get(entry.kind, Usage())
        usage[entry.kind] = Usage(
            calls=known.calls + 1,
            prompt_tokens=known.prompt_tokens + entry.prompt_tokens,
            output_tokens=known.output_tokens + entry.output_tokens,
        )
    return ChainCost(prompt_id=row.prompt_id, outcome=row.reason if isinstance(row, Reject) else "pair", usage=usage)
