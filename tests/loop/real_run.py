"""A run of the demo's model through the real stack, small enough for a test: its run file, and how it is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.tracked import ROOT

RUN: dict[str, Any] = {
    "model": str(ROOT / "demo" / "model"),
    "constitution": "demo",
    "sources": [str(ROOT / "demo" / "prompts.jsonl")],
    "rounds": 2,
    "prompts_per_round": 40,
    "validation_prompts": 8,
    "min_pairs": 1,
    "engine": {"context": 1024, "eager": True, "cache_gib": 0.25},
    "generate": {"draft": {"max_tokens": 120}, "critic": {"max_tokens": 120}, "revision": {"max_tokens": 120}},
    "train": {
        "learning_rate": 1e-3, "beta": 0.3, "epochs": 8, "pairs_per_step": 8,
        "pairs_per_micro_batch": 8, "max_tokens": 512, "lora": {"r": 8, "alpha": 16},
    },
    "evaluate": {
        "drafts": 2, "critic_drafts": 1, "sway_drafts": 2, "max_prompts": 40, "sampling": {"max_tokens": 120},
    },
}  # fmt: skip


def write_run(folder: Path, **settings: Any) -> Path:
    """A run file in a folder; `settings` replace those of `RUN`, sections key by key. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    merged = settings | {
        key: value | settings.get(key, {}) if isinstance(value, dict) else settings.get(key, value)
        for key, value in RUN.items()
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(merged))
    return folder


def run_command(*arguments: str, cwd: Path, module: str = "loop.cli", **environment: str) -> subprocess.Popen[str]:
    """The command under way, as from a user's shell, its output piped."""
    # Importing trl, as other tests do in this process, silences vLLM through this variable.
    inherited = {name: value for name, value in os.environ.items() if name != "VLLM_LOGGING_LEVEL"}
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome_of(process: subprocess.Popen[str], seconds: float) -> tuple[int, str, str]:
    """Status, output and errors of a command at its end; one that takes longer is killed, which is an error."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, out, err
