"""`constitute` and its stage processes with a scripted engine in vLLM's place; all else is real.

`python -m tests.loop.scripted_process cli ARGUMENTS...` is the command, and begins stages as `... stage ARGUMENTS...`.
The environment says how the engine behaves: `SCRIPTED_PAUSE` seconds before every completion (so a signal finds work in
flight), `SCRIPTED_SHARD` rows in a shard, `SCRIPTED_FAULT` the words it cannot be started with, `SCRIPTED_DRAFT` the
text of every draft, `SCRIPTED_LOADS` a library that comes with it, `SCRIPTED_CLOCK` seconds by which the clock is
wrong, `SCRIPTED_STUCK` after how many completions it hangs without hearing anything, `SCRIPTED_VARIED` that the drafts
of one prompt differ.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import os
import sys
import time
from typing import Any

from constitution.verdicts import reply_json
from generator.engine import Adapter, Call, Completion
from tests.scripted import ScriptedEngine, user_turn

COUNTER = itertools.count()
RUDE, KIND = "Listen, you idiot: it is number {}.", "Gladly: it is number {}."


def answer(text: str, call: Call) -> str:
    """Two drafts of three are rude; the critic and the judge see it, and a rewrite is kind."""
    turn = user_turn(text)
    if call.schema and "verdict" not in call.schema["properties"]:
        return judged(turn, "rating" in call.schema["properties"])
    if call.schema:
        rude = "idiot" in turn
        return reply_json("A rude word." if rude else "No fault.", "violates" if rude else "complies", 2 if rude else 0)
    if "SCRIPTED_DRAFT" in os.environ and call.stage == 0:
        return os.environ["SCRIPTED_DRAFT"]
    if turn.startswith("say "):
        # The drafts of one prompt differ, as sampled ones do.
        number = int(turn.split()[1]) + (next(COUNTER) if "SCRIPTED_VARIED" in os.environ else 0)
        return (KIND if number % 3 == 0 else RUDE).format(number)
    return KIND.format("as before")


def judged(turn: str, rates: bool) -> str:
    """A rating of the one answer that is shown, or a comparison of the two."""
    first, _, second = turn.rpartition("Answer B:")
    if rates:
        return json.dumps({"critique": "Seen.", "rating": 2 if "idiot" in turn else 5})
    rude = "idiot" in first, "idiot" in second
    better = "tie" if rude[0] == rude[1] else "B" if rude[0] else "A"
    return json.dumps({"critique": "Seen.", "better": better})


class ScriptedVllm(ScriptedEngine):
    """Has what the stage uses of `VllmEngine`."""

    sequences, deaths = 4, 0

    def __init__(self, model: str, config: Any, adapters: list[Adapter], *, seed: int) -> None:
        super().__init__(answer, model=model, context=config.context or 100_000)
        self.scored: set[str] = set()

    async def start(self) -> None:
        if "SCRIPTED_LOADS" in os.environ:
            importlib.import_module(os.environ["SCRIPTED_LOADS"])
        if "SCRIPTED_FAULT" in os.environ:
            raise RuntimeError(os.environ["SCRIPTED_FAULT"])

    async def score(self, token_ids: tuple[int, ...], adapter: Adapter | None) -> list[float]:
        self.scored |= {adapter.digest} if adapter else set()
        return await super().score(token_ids, adapter)

    async def complete(self, call: Call) -> Completion:
        await asyncio.sleep(float(os.environ.get("SCRIPTED_PAUSE", "0")))
        if len(self.calls) == int(os.environ.get("SCRIPTED_STUCK", "-1")):
            time.sleep(600)
        return await super().complete(call)


def stage(arguments: list[str]) -> int:
    import loop.cluster
    import loop.engines
    import loop.stage
    from records.store import RowStore
    from tests.loop.scripted_actor import ScriptedActor

    loop.cluster._Actor = ScriptedActor  # type: ignore[misc]
    loop.engines.VllmEngine = ScriptedVllm  # type: ignore[assignment,misc]
    if "train" not in arguments:
        loop.stage.load_libraries = lambda *_: None
    rows = os.environ.get("SCRIPTED_SHARD")
    if rows:
        RowStore.__init__.__kwdefaults__["rows_per_shard"] = int(rows)
    return loop.stage.main(arguments)


def cli(arguments: list[str]) -> None:
    import loop.processes
    from loop.cli import main

    loop.processes.STAGE_COMMAND = (sys.executable, "-m", "tests.loop.scripted_process", "stage")
    sys.argv = ["constitute", *arguments]
    main()


def set_clock(seconds: float) -> None:
    """As if the machine's clock stood so much ahead."""
    true_time = time.time
    time.time = lambda: true_time() + seconds


if __name__ == "__main__":
    set_clock(float(os.environ.get("SCRIPTED_CLOCK", "0")))
    sys.exit({"stage": stage, "cli": cli}[sys.argv[1]](sys.argv[2:]))
