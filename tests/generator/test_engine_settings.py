from __future__ import annotations

import dataclasses

import pytest
from pydantic import ValidationError

from generator.config import OPTIONS, EngineConfig
from generator.engine_settings import engine_settings


def test_a_cpu_gets_figures_for_offline_work_and_a_gpu_keeps_those_of_vllm() -> None:
    on_cpu = engine_settings(EngineConfig(), on_cpu=True)
    assert (on_cpu["max_num_seqs"], on_cpu["max_num_batched_tokens"], on_cpu["block_size"]) == (256, 8192, 32)
    on_gpu = engine_settings(EngineConfig(), on_cpu=False)
    assert not {"max_num_seqs", "max_num_batched_tokens", "block_size", "kv_cache_memory_bytes"} & on_gpu.keys()
    assert on_gpu["dtype"] == "auto" and "distributed_executor_backend" not in on_gpu


def test_what_is_set_reaches_vllm() -> None:
    config = EngineConfig(
        sequences=512,
        tensor_parallel=2,
        data_parallel=4,
        quantization="fp8",
        speculative={"method": "ngram", "tokens": 3, "lookup_max": 4},
        options={"kv_cache_dtype": "fp8", "pipeline_parallel_size": 2},
    )
    settings = engine_settings(config, on_cpu=False, adapters=2, rank=12)
    wanted = {
        "max_num_seqs": 512,
        "tensor_parallel_size": 2,
        "data_parallel_size": 4,
        "quantization": "fp8",
        "speculative_config": {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4},
        "kv_cache_dtype": "fp8",
        "pipeline_parallel_size": 2,
        "enable_lora": True,
        "max_loras": 3,
        "max_lora_rank": 16,
    }
    assert {name: settings[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    "parallel", [{"tensor_parallel": 2}, {"data_parallel": 2}, {"options": {"pipeline_parallel_size": 2}}]
)
@pytest.mark.parametrize("on_cpu", [True, False])
def test_several_parts_of_a_model_are_processes_of_this_machine(parallel: dict[str, object], on_cpu: bool) -> None:
    """Also in an actor of Ray's, where vLLM by itself would ask Ray for more of them."""
    backend = "distributed_executor_backend"
    assert engine_settings(EngineConfig(), on_cpu=on_cpu).get(backend) != "mp"
    assert engine_settings(EngineConfig(**parallel), on_cpu=on_cpu)[backend] == "mp"


def test_a_cpu_without_bfloat16_decodes_in_float32_unless_told_otherwise() -> None:
    slow = {"on_cpu": True, "quick_bfloat16": False}
    assert engine_settings(EngineConfig(), **slow)["dtype"] == "float32"
    assert engine_settings(EngineConfig(dtype="bfloat16"), **slow)["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    "name", ["trust_remote_code", "load_format", "worker_cls", "hf_token", "scheduling_policy", "no_such_thing"]
)
def test_an_option_that_decides_more_than_speed_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} cannot be passed on"):
        EngineConfig(options={name: "x"})


@pytest.mark.model
def test_this_vllm_has_every_option() -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    names = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    assert names >= OPTIONS
    speculative = {"method": "ngram"}
    assert engine_settings(EngineConfig(speculative=speculative), on_cpu=True).keys() <= names
