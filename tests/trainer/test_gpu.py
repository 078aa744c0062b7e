"""The trainer on a CUDA device: bfloat16 weights, the adapter in float32, memory."""

from __future__ import annotations

import math

import pytest

from tests.trainer.tiny import rows_preferring
from tests.trainer.training import mean_preference, train

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _needs_cuda():
    import torch

    # Asked for by name (`-m gpu`), a skip would look like a pass.
    assert torch.cuda.is_available(), "no CUDA device"


def test_bfloat16_on_a_gpu_starts_at_ln_2_and_learns(tiny, tmp_path):
    from safetensors.torch import load_file

    rows = rows_preferring("a", "b")
    report = train(tiny, tmp_path / "round_00", rows, device="cuda")
    assert report["first_loss"] == pytest.approx(math.log(2), abs=0.01)
    adapter = tmp_path / "round_00" / "adapter"
    assert {str(weight.dtype) for weight in load_file(adapter / "adapter_model.safetensors").values()} == {
        "torch.float32"
    }
    assert mean_preference(tiny, adapter, rows) > mean_preference(tiny, None, rows) + 1


def test_cpu_and_gpu_agree_on_the_first_step(tiny, tmp_path):
    rows = rows_preferring("a", "b", count=6, validation=0)
    settings = {"dtype": "float32", "max_steps": 1}
    reports = [train(tiny, tmp_path / device, rows, device=device, **settings) for device in ("cpu", "cuda")]
    assert reports[0]["logps/chosen"] == pytest.approx(reports[1]["logps/chosen"], abs=0.05)


def test_checkpointing_lowers_the_peak(tiny, tmp_path):
    import torch

    rows = [
        {**row, "chosen": [{"role": "assistant", "content": "a" * 200}]}
        for row in rows_preferring("a", "b", count=64, validation=0)
    ]
    peaks = []
    for checkpointing in (False, True):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        settings = {"pairs_per_step": 64, "pairs_per_micro_batch": 64, "max_steps": 2, "epochs": 2.0}
        folder = tmp_path / str(checkpointing)
        train(tiny, folder, rows, device="cuda", gradient_checkpointing=checkpointing, **settings)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < peaks[0]
