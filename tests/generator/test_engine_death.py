"""How often a dead engine is brought back, and who is given up: vLLM's own errors, from a stand-in for its core."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from generator.config import EngineConfig
from generator.engine import Call, Completion, EngineFailedError, Sampling
from generator.vllm_engine import VllmEngine
from records.errors import StageError

pytestmark = pytest.mark.model  # the import of vLLM alone takes seconds


class Core:
    """Stands in for `AsyncLLM`: call 13 does `harm`, every other one is answered after it."""

    def __init__(self, harm):
        self.harm = harm
        self.errored = False
        self.down = False

    async def generate(self, prompt, parameters, request_id, **_):
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        ids = prompt["prompt_token_ids"]
        reason = "stop"
        if ids == [13]:
            await asyncio.sleep(0.01)
            if self.harm == "drops":
                raise EngineGenerateError("this request alone")
            if self.harm == "kills":
                self.errored = True
            reason = "abort" if self.harm == "aborts" else "stop"
        if self.harm == "is dead":
            self.errored = True
        await asyncio.sleep(0)
        if self.errored:
            raise EngineDeadError()
        output = SimpleNamespace(text="ok", token_ids=[1], finish_reason=reason, cumulative_logprob=None)
        yield SimpleNamespace(outputs=[output], finished=True, num_cached_tokens=0)

    def shutdown(self):
        self.down = True


class Engine(VllmEngine):
    """Brings up stand-ins; after `starts` of them it cannot start any more."""

    def __init__(self, harm, *, restarts=2, starts=99):
        super().__init__("model", EngineConfig(restarts=restarts))
        self.harm, self.starts, self.cores = harm, starts, []
        self.context = 100

    async def _launch(self):
        if len(self.cores) >= self.starts:
            raise RuntimeError("engine core initialization failed")
        self.cores.append(Core(self.harm))
        self._llm = self.cores[-1]


async def ask(engine, numbers):
    await engine._launch()
    calls = [engine.complete(Call((number,), Sampling(max_tokens=4))) for number in numbers]
    return await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize(("harm", "deaths"), [("kills", 3), ("drops", 0), ("aborts", 0)])
def test_a_call_that_never_comes_back_is_given_up_and_the_others_are_answered(harm, deaths):
    engine = Engine(harm)
    found = asyncio.run(ask(engine, range(20)))
    assert isinstance(found[13], EngineFailedError)
    assert all(isinstance(one, Completion) for number, one in enumerate(found) if number != 13)
    assert engine.deaths == deaths == sum(core.down for core in engine.cores)


@pytest.mark.parametrize("starts", [99, 1])
def test_an_engine_that_cannot_live_ends_the_stage_instead_of_rejecting_every_prompt(starts):
    engine = Engine("is dead", starts=starts)
    found = asyncio.run(ask(engine, range(5)))
    later = asyncio.run(ask_again(engine))
    assert isinstance(later, StageError) and "died" in str(later) and "run the same command again" in str(later)
    assert not [one for one in found if isinstance(one, Completion)]
    assert len(engine.cores) <= 2 * engine.config.restarts + 3


async def ask_again(engine):
    for _ in range(10):
        (found,) = await asyncio.gather(engine.complete(Call((1,), Sampling(max_tokens=4))), return_exceptions=True)
        if isinstance(found, StageError):
            return found
    return found
