"""From this project's settings of an engine to vLLM's own. Pure: nothing of vLLM is needed to see what it is asked."""

from __future__ import annotations

from typing import Any

from generator.config import EngineConfig

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM has kernels for."""


def engine_settings(
    config: EngineConfig, *, on_cpu: bool, quick_bfloat16: bool = True, adapters: int = 0, rank: int = 0
) -> dict[str, Any]:
    """Arguments of vLLM's `AsyncEngineArgs`, without the model and the seed; what is not named is vLLM's to choose.

    Args:
        config: the settings.
        on_cpu: vLLM's CPU build, whose own figures are those of a server and not of offline work.
        quick_bfloat16: whether this CPU has bfloat16 instructions; without them vLLM decodes five times slower in it
            than in float32.
        adapters: how many adapters will be served.
        rank: the largest rank among them.
    """
    cache_gib = config.cache_gib or (1.0 if on_cpu else None)
    settings: dict[str, Any] = {
        "dtype": "float32" if config.dtype == "auto" and on_cpu and not quick_bfloat16 else config.dtype,
        "max_model_len": config.context,
        "max_num_seqs": config.sequences or (256 if on_cpu else None),
        "max_num_batched_tokens": config.batched_tokens or (8192 if on_cpu else None),
        "block_size": config.block_size or (32 if on_cpu else None),
        "enforce_eager": config.eager,
        "gpu_memory_utilization": config.memory_share,
        "kv_cache_memory_bytes": int(cache_gib * 2**30) if cache_gib else None,
        "tensor_parallel_size": config.tensor_parallel,
        "data_parallel_size": config.data_parallel,
        "quantization": config.quantization,
        "speculative_config": _speculative(config),
        "trust_remote_code": config.trust_remote_code,
        "enable_prefix_caching": True,
        # Before temperature, which would sharpen what a judge's probabilities say.
        "logprobs_mode": "raw_logprobs",
        # Later steps of a chain carry a smaller number and go first.
        "scheduling_policy": "priority",
        # A weak model fills its budget with white space where the grammar lets it.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        "disable_log_stats": True,
        "load_format": "safetensors",
    }
    settings |= _processes(config, on_cpu=on_cpu) | _adapters(adapters, rank)
    return {name: value for name, value in settings.items() if value is not None} | config.options


def _processes(config: EngineConfig, *, on_cpu: bool) -> dict[str, Any]:
    if config.parts > 1:
        # Processes of this machine, also where vLLM finds itself in an actor and would ask Ray for more of them.
        return {"distributed_executor_backend": "mp"}
    if on_cpu:
        # vLLM would start a worker process beside the core's, since it cannot bind the core's threads; the engine does.
        # One process less takes a third off the start and a hop off every engine step.
        return {"distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor"}
    return {}


def _adapters(count: int, rank: int) -> dict[str, Any]:
    if not count:
        return {}
    return {
        "enable_lora": True,
        # One slot more than adapters: on a CPU, base requests in a batch with adapter requests otherwise get the
        # adapter applied.
        "max_loras": count + 1,
        "max_lora_rank": next(allowed for allowed in _RANKS if allowed >= rank),
    }


def _speculative(config: EngineConfig) -> dict[str, Any] | None:
    if config.speculative is None:
        return None
    chosen = config.speculative
    settings = {
        "method": chosen.method,
        "num_speculative_tokens": chosen.tokens,
        "model": chosen.model,
        "prompt_lookup_min": chosen.lookup_min,
        "prompt_lookup_max": chosen.lookup_max,
    }
    return {name: value for name, value in settings.items() if value is not None}
