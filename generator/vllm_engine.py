"""The vLLM engine: `AsyncLLM` with token ids in, continuous batching, and adapters known by what they hold.

vLLM knows an adapter by name and integer id, never by content, so both are given out here once per digest and never
used again. An engine that dies is started anew and the calls that were in flight are submitted again.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from itertools import count
from typing import Any

from generator.config import EngineConfig
from generator.engine import Adapter, Call, Completion, EngineFailedError, Position, PromptTooLongError
from generator.engine_settings import engine_settings
from records.digest import adapter_digest
from records.errors import ConfigError, StageError


class VllmEngine:
    """One model in vLLM; see `generator.engine.Engine` for what it promises."""

    def __init__(self, model: str, config: EngineConfig, adapters: Sequence[Adapter] = (), *, seed: int = 0) -> None:
        """Prepare an engine; `start` brings it up.

        Args:
            model: folder or Hugging Face id.
            config: its settings.
            adapters: every adapter this engine will ever be asked to apply.
            seed: seed of all sampling (a seed per call kills vLLM's CPU engine).
        """
        self.model = model
        self.config = config
        self.seed = seed
        self.adapters = {adapter.digest: (number, adapter) for number, adapter in enumerate(adapters, 1)}
        self.tokenizer: Any = None
        self.context = 0
        self.sequences = 0
        self.deaths = 0
        self._deaths_in_a_row = 0
        self._llm: Any = None
        self._starting = asyncio.Lock()
        self._scoring = asyncio.Lock()
        self._request_ids = count()

    async def start(self) -> None:
        """Load the model.

        Raises:
            ConfigError: the model is not there, or an adapter is not one that vLLM can apply.
            StageError: an adapter's content is not what its digest says.
        """
        for _, adapter in self.adapters.values():
            _refuse_changed(adapter)
        from transformers import AutoTokenizer

        trust = self.config.trust_remote_code
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(self.model, trust_remote_code=trust)
        except Exception as error:  # a file that is no tokeniser makes the library fail in whatever way it comes to
            raise ConfigError(
                f"model {self.model!r}: its tokeniser cannot be loaded ({error!r}). Mend model:."
            ) from error
        await self._launch()

    async def _launch(self) -> None:
        # Child processes print their own banners; the stage has already sent them to its log.
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        self._llm = _launch_llm(_engine_arguments(self))
        self.context = self._llm.model_config.max_model_len
        # Each copy of the model decodes so many at once.
        self.sequences = self._llm.vllm_config.scheduler_config.max_num_seqs * self.config.data_parallel

    async def complete(self, call: Call) -> Completion:
        """See `Engine.complete`."""
        from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

        if len(call.token_ids) + call.sampling.max_tokens > self.context:
            raise PromptTooLongError(f"{len(call.token_ids)} + {call.sampling.max_tokens} tokens > {self.context}")
        parameters = SamplingParams(
            temperature=call.sampling.temperature,
            top_p=call.sampling.top_p,
            max_tokens=call.sampling.max_tokens,
            logprobs=call.alternatives or (0 if call.logprobs else None),
            structured_outputs=StructuredOutputsParams(json=call.schema) if call.schema else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = await self._request(call.token_ids, parameters, call.adapter, priority=-call.stage)
        completion = output.outputs[0]
        return Completion(
            text=completion.text,
            token_ids=tuple(completion.token_ids),
            finish_reason=completion.finish_reason or "stop",
            prompt_tokens=len(call.token_ids),
            cached_tokens=output.num_cached_tokens or 0,
            logprob=completion.cumulative_logprob,
            positions=_positions(completion) if call.alternatives else (),
        )

    async def score(self, token_ids: tuple[int, ...], adapter: Adapter | None) -> list[float]:
        """See `Engine.score`; one text at a time, and not while others are completed.

        With adapters on, vLLM's CPU engine dies when a request for the log-probabilities of its prompt shares a batch.
        """
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        parameters = SamplingParams(
            temperature=0.0, max_tokens=1, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY
        )
        async with self._scoring:
            output = await self._request(token_ids, parameters, adapter, priority=0)
        found = output.prompt_logprobs[1:]
        return [entry[token].logprob for entry, token in zip(found, token_ids[1:], strict=True)]

    async def _request(self, token_ids: Sequence[int], parameters: Any, adapter: Adapter | None, priority: int) -> Any:
        """The final output of one request, submitted again where the engine died or dropped it.

        A call is given up after some attempts of its own, so that one that kills the engine each time does not go on
        for ever while others complete in between.
        """
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        lora = self._lora_request(adapter)
        found = ""
        for _ in range(self.config.restarts + 1):
            llm = self._llm
            try:
                output = None
                stream = llm.generate(
                    {"prompt_token_ids": list(token_ids)},
                    parameters,
                    f"call-{next(self._request_ids)}",
                    lora_request=lora,
                    priority=priority,
                )
                async for output in stream:  # noqa: B007 - the last one is what counts
                    pass
            except (EngineDeadError, EngineGenerateError) as error:
                found = str(error)
                if llm.errored:
                    await self._restart(llm, error)
                continue
            found = str(output.outputs[0].finish_reason) if output is not None else "no output"
            if found in ("stop", "length"):
                self._deaths_in_a_row = 0
                return output
        raise EngineFailedError(f"the engine gave no completion in {self.config.restarts + 1} attempts ({found})")

    async def _restart(self, dead: Any, error: Exception) -> None:
        """Bring the engine back once for all calls that were in flight when it died.

        Raises:
            StageError: it died so often, with no completion between, that every further call would die too.
        """
        async with self._starting:
            while self._llm is dead:
                self.deaths += 1
                self._deaths_in_a_row += 1
                if self._deaths_in_a_row > 2 * self.config.restarts + 1:
                    raise StageError(
                        f"vLLM with {self.model} died {self._deaths_in_a_row} times with no completion between "
                        f"({error}). Finished rows are safe. The log says why it died (no memory left?); mend that, or "
                        "make engine.sequences or engine.context smaller, then run the same command again."
                    )
                dead.shutdown()
                try:
                    await self._launch()
                except RuntimeError as failed:
                    error = failed

    def _lora_request(self, adapter: Adapter | None) -> Any:
        if adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        number, known = self.adapters[adapter.digest]
        return LoRARequest(f"adapter-{adapter.digest[:16]}", number, str(known.path))

    async def close(self) -> None:
        """Stop the engine's processes and free its memory."""
        if self._llm is not None:
            self._llm.shutdown()
            self._llm = None


def _positions(completion: Any) -> tuple[Position, ...]:
    found = []
    for token, entry in zip(completion.token_ids, completion.logprobs or (), strict=False):
        alternatives = tuple((one.decoded_token or "", one.logprob) for one in entry.values())
        found.append(Position(entry[token].decoded_token or "", alternatives))
    return tuple(found)


def _refuse_changed(adapter: Adapter) -> None:
    try:
        found = adapter_digest(adapter.path)
    except (OSError, ValueError) as error:
        raise StageError(
            f"{adapter.path}: the adapter cannot be read ({error}); expected the one with digest "
            f"{adapter.digest[:16]}. Run the training stage that made it again."
        ) from error
    if found != adapter.digest:
        raise StageError(
            f"{adapter.path}: the adapter's content has digest {found[:16]}, expected {adapter.digest[:16]}. "
            "It was changed after it was trained; run the training stage that made it again."
        )


def _adapter_rank(adapter: Adapter) -> int:
    config = json.loads((adapter.path / "adapter_config.json").read_text(encoding="utf-8"))
    return int(config["r"])


def _engine_arguments(engine: VllmEngine) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform

    rank = max((_adapter_rank(adapter) for _, adapter in engine.adapters.values()), default=0)
    settings = engine_settings(
        engine.config,
        on_cpu=current_platform.is_cpu(),
        quick_bfloat16=_computes_in_bfloat16(),
        adapters=len(engine.adapters),
        rank=rank,
    )
    return AsyncEngineArgs(model=engine.model, seed=engine.seed, **settings)


def load_vllm() -> None:
    """Import vLLM, which takes ten seconds, before it is needed."""
    import vllm.v1.engine.async_llm  # noqa: F401


def _launch_llm(arguments: Any) -> Any:
    """vLLM, up and ready."""
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.ompmultiprocessing import OMPProcessManager
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.executor import Executor

    # LLM_CLASS asks for the offline figures; the default would hold a large GPU to 128 sequences.
    usage = UsageContext.LLM_CLASS
    config = arguments.create_engine_config(usage)
    # On a CPU the threads of the process that computes are counted and bound by what it finds in its environment.
    with OMPProcessManager(config).configure_omp_envs(rank=0, local_rank=0):
        # By default it would write a line to the log for every call.
        return AsyncLLM(config, Executor.get_class(config), log_stats=False, log_requests=False, usage_context=usage)


def _computes_in_bfloat16() -> bool:
    """Whether this CPU has bfloat16 instructions; without them vLLM decodes five times slower than in float32."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
