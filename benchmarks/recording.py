"""For benchmarks/generation.py: an engine that records its calls, the calls again, and an engine with barriers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from generator.engine import Call, Completion
from generator.vllm_engine import VllmEngine


class RecordingEngine(VllmEngine):
    """vLLM, with every call kept in the order it was handed over."""

    free_text = False

    def forget(self) -> None:
        """Begin a new recording."""
        self.calls: list[Call] = []
        self.completions: dict[int, Completion] = {}

    async def complete(self, call: Call) -> Completion:
        if self.free_text:
            call = replace(call, schema=None)
        number = len(self.calls)
        self.calls.append(call)
        self.completions[number] = await super().complete(call)
        return self.completions[number]


class WaitingEngine:
    """Hands calls on only when none is at work and every chain waits: each step of a batch as one barrier."""

    def __init__(self, engine: VllmEngine) -> None:
        self.engine, self.model, self.tokenizer, self.context = engine, engine.model, engine.tokenizer, engine.context
        self.at_work = 0
        self.waiting: list[asyncio.Future[None]] = []
        self.opening: asyncio.Task[None] | None = None

    async def complete(self, call: Call) -> Completion:
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        self._open_soon()
        await turn
        try:
            return await self.engine.complete(call)
        finally:
            self.at_work -= 1
            self._open_soon()

    def _open_soon(self) -> None:
        if self.at_work == 0 and (self.opening is None or self.opening.done()):
            self.opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        for _ in range(20):  # chains that have their reply come to their next call within a few turns of the loop
            await asyncio.sleep(0)
        turns, self.waiting = self.waiting, []
        self.at_work = len(turns)
        for turn in turns:
            turn.set_result(None)


async def limit(engine: RecordingEngine, calls: list[Call], lengths: list[int]) -> None:
    """The recorded calls, all at once, with replies of the recorded lengths."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    async def again(number: int, call: Call, length: int) -> None:
        parameters = SamplingParams(
            temperature=call.sampling.temperature, top_p=call.sampling.top_p, max_tokens=length, min_tokens=length,
            ignore_eos=True, logprobs=0 if call.logprobs else None, output_kind=RequestOutputKind.FINAL_ONLY,
        )  # fmt: skip
        name = f"limit-{next(engine._request_ids)}"
        outputs = engine._llm.generate({"prompt_token_ids": list(call.token_ids)}, parameters, name)
        written = [len(output.outputs[0].token_ids) async for output in outputs]
        assert written == [length], (number, written, length)

    await asyncio.gather(*(again(n, *pair) for n, pair in enumerate(zip(calls, lengths, strict=True))))
