"""A small world for runs with a scripted engine (tests/loop/scripted_process.py): its files, and how it is started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from records.store import read_rows
from tests.tracked import ROOT

CONSTITUTION = """\
name: toy
version: 1
principles:
  - id: polite
    text: The answer insults nobody.
    check: {forbid: ['(?i)idiot']}
"""
RUN = """\
model: model
constitution: toy.yaml
sources: [prompts.jsonl]
rounds: 1
min_pairs: 1000
engine: {context: 2048}
generate: {draft: {max_tokens: 80}, critic: {max_tokens: 200}, revision: {max_tokens: 80}}
evaluate: {drafts: 2, critic_drafts: 1, sway_drafts: 2, answered_by: none, sampling: {max_tokens: 80}}
"""
CHAINS = 52
"""Train and validation prompts of the world's 60."""


def write_world(folder: Path) -> Path:
    """A constitution, 60 prompts, a run file, and a model folder that only looks like one; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.yaml").write_text(CONSTITUTION)
    (folder / "run.yaml").write_text(RUN)
    rows = [{"prompt": f"say {number}"} for number in range(60)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_model_folder(folder / "model")
    return folder


def write_model_folder(folder: Path, **left_out: bool) -> Path:
    """The files by which a model's folder is known; names given as keywords (dots as `_`) are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"config.json": '{"max_position_embeddings": 2048}', "tokenizer.json": "{}", "model.safetensors": ""}
    for name, text in (files | {"chat_template.jinja": "x"}).items():
        if name.replace(".", "_") not in left_out:
            (folder / name).write_text(text)
    return folder


def start(*arguments: str, cwd: Path, before: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
    """`constitute ARGUMENTS` with a scripted engine, under way; its output is piped. `before` begins the command."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", "tests.loop.scripted_process", "cli", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where these tests run in the background of a shell, Ctrl-C is ignored, and that would be inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def constitute(
    *arguments: str, cwd: Path, before: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """`constitute ARGUMENTS` with a scripted engine, to its end."""
    process = start(*arguments, cwd=cwd, before=before, **environment)
    try:
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def rows(round_folder: Path) -> list[dict[str, Any]]:
    """All pairs and rejects of a round."""
    return [row for kind in ("pairs", "rejects") for row in read_rows(round_folder / kind)]
