"""What the vLLM engine asks of vLLM, on a stand-in that only notes it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from generator.config import EngineConfig
from generator.engine import Call, Sampling
from generator.method import CRITIQUE, DRAFT, REVISION, VERIFICATION
from generator.vllm_engine import VllmEngine, _engine_arguments
from tests.trainer.tiny import build_model

pytestmark = pytest.mark.model


class Noting:
    """Has what the engine uses of `AsyncLLM`, and keeps the priority of every request."""

    errored = False

    def __init__(self) -> None:
        self.priorities: list[int] = []

    async def generate(self, prompt, parameters, request_id, lora_request, priority):
        self.priorities.append(priority)
        completion = SimpleNamespace(text="x", token_ids=[1], finish_reason="stop", cumulative_logprob=None)
        yield SimpleNamespace(outputs=[completion], num_cached_tokens=0)


def test_later_steps_of_a_chain_are_served_first(tmp_path):
    """Under vLLM's priority scheduling the smaller number goes first (docs: SchedulerConfig.policy)."""
    engine = VllmEngine(str(build_model(tmp_path / "model")), EngineConfig(context=100))
    engine._llm, engine.context = Noting(), 100
    for stage in (DRAFT, CRITIQUE, REVISION, VERIFICATION):
        asyncio.run(engine.complete(Call((1, 2), Sampling(max_tokens=5), stage=stage)))
    assert engine._llm.priorities == sorted(engine._llm.priorities, reverse=True)
    assert len(set(engine._llm.priorities)) == 4
    assert _engine_arguments(engine).scheduling_policy == "priority"
