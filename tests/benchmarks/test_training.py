"""The benchmark of training, at a size at which it takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.training import BARS, compare, useful_flops
from tests.tracked import ROOT


@pytest.mark.model
def test_it_runs_each_variant_apart_and_prints_ratios():
    command = [
        sys.executable,
        ROOT / "benchmarks" / "training.py",
        "--model=tiny",
        "--pairs=6",
        "--step=4",
        "--micro=2",
    ]
    command += ["--repeats=1", "--shapes", "ragged", "--variants", "ours", "tuned"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    *runs, last = map(json.loads, done.stdout.splitlines())
    assert [run["variant"] for run in runs] == ["ours", "tuned"]
    assert "shared prompts: on" in done.stderr
    assert all(len(run["losses"]) == 4 and run["peak_mib"] > 0 for run in runs)
    # The first step is the reference's own for both.
    assert all(run["losses"][0] == pytest.approx(0.6931, abs=1e-3) for run in runs)
    assert set(last["shapes"]["ragged"]) >= {"speedup_tuned", "speedup_tuned_processor", "memory_ratio"}
    assert last["bars"] == BARS and len(last["load"]) == 2


def test_ratios_are_of_medians():
    def run(variant, seconds, peak):
        figures = {"pairs_per_second": 1 / seconds, "tokens_per_second": 1.0}
        return {"variant": variant, "seconds": seconds, "processor_seconds": 2 * seconds, "peak_mib": peak, **figures}

    runs = [run("ours", seconds, 100) for seconds in (1.0, 2.0, 9.0)]
    runs += [run("tuned", seconds, 80) for seconds in (3.0, 5.0, 4.0)]
    found = compare(runs)
    assert (found["speedup_tuned"], found["speedup_tuned_processor"], found["memory_ratio"]) == (2.0, 2.0, 1.25)
    assert "speedup_default" not in found


def test_useful_arithmetic_by_hand():
    """The tiny model: hidden 64, 128 between, 2 layers, 2 heads of 32, 1 of keys, 512 tokens; 2 epochs."""
    weights = 2 * (64 * 64 + 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)
    # A prompt of 3, answers of 2 and 1: four tokens are run, and the fourth sees three of the prompt and itself.
    forward = 2 * weights * 4 + 4 * 2 * 64 * (1 + 2 + 3 + 4) + 2 * 512 * 64 * 3
    assert useful_flops("tiny", [(3, 2, 1)]) == pytest.approx(5 * forward)
