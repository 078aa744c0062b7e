"""The measurements run and say what they promise to; their figures are for quiet machines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def lines_of(script: str, *arguments: str) -> list[dict]:
    command = [sys.executable, f"benchmarks/{script}.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.soak  # three engines, one after the other: minutes
def test_generation_compares_a_run_with_its_limit_and_with_batches():
    *measured, told = lines_of("generation", "--prompts", "6", "--repeats", "2")
    assert {"efficiency", "efficiency_json", "speedup_over_batches_of_50", "chains_per_second"} <= set(told)
    assert {"output_tokens_per_second", "cached_token_share", "cached_by_stage", "bars"} <= set(told)
    names = [(line["measured"], line["free_text"]) for line in measured]
    as_json = ["batches", "run", "limit", "limit", "run", "batches"]
    assert names == [(name, False) for name in as_json] + [(name, True) for name in ("run", "limit", "limit", "run")]
    for text in (False, True):
        of = {line["measured"]: line for line in measured if line["free_text"] == text}
        assert of["run"]["tokens"] > 0 and of["run"]["engine"] > 0
    # The limit writes exactly the tokens of the run that it repeats.
    assert measured[1]["tokens"] == measured[2]["tokens"] == measured[3]["tokens"]
    shares = told["cached_by_stage"]["with_examples"]
    # Critique and revision of a draft begin alike, examples first: a tiny run too finds them in the cache.
    assert shares["critique"] > 0.6 and (shares["revision"] is None or shares["revision"] > 0.6), shares
    assert shares["draft"] == 0


def test_overhead_measures_a_tenth_and_all():
    few, many, told = lines_of("overhead", "--prompts", "100")
    assert (few["prompts"], many["prompts"]) == (10, 100)
    assert many["calls_per_chain"] == 6.0
    assert told["ms_per_chain"] == many["ms_per_chain"] > 0
    assert told["bars"] == {"ms_per_chain": 2.0, "rss_growth_mib": 100.0}


def test_the_audit_is_measured_on_as_many_verdicts_as_are_asked_for():
    (told,) = lines_of("audit", "--verdicts", "3000", "--principles", "12")
    assert 3000 <= told["verdicts"] < 3500 and told["principles"] == 12
    assert told["seconds"] > 0 and told["peak_rss_mib"] > 0
    assert told["bars"] == {"seconds": 60, "peak_rss_mib": 2048}
