"""Prompts that another one makes superfluous: what a person is told of them, and the file that names them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loop.config import load_run_config
from loop.folder import RunFolder
from loop.inputs import open_run
from loop.rounds import prepare
from tests.loop.in_process import in_process
from tests.loop.scripted_run import write_world

MORE = ["say 1", "please SAY  2", "what is it to say 3?"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(write_world(tmp_path))
    with open(tmp_path / "prompts.jsonl", "a") as file:
        file.writelines(json.dumps({"prompt": text}) + "\n" for text in MORE)
    return tmp_path


def test_check_counts_them(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with in_process(monkeypatch, capsys, "check") as check:
        status, told = check("run.yaml")
        _, kept = check("run.yaml", "near_duplicate_prompts=keep")
    assert status == 0
    assert "left out: 1 duplicates, " in told
    assert "source prompts.jsonl: 60 taken of 63 prompts" in told
    assert ", 0 other near-duplicates" in kept and "1 duplicates" in kept


def test_a_run_names_each_with_the_one_that_says_the_same(world: Path) -> None:
    folder = RunFolder(world / "outputs" / "run")
    prepare(open_run(load_run_config(world / "run.yaml"), folder))
    named = json.loads((folder.path / "left_out_prompts.json").read_text())
    assert sorted(one["why"].partition("_of")[0] for one in named) == ["duplicate", "near_duplicate", "near_duplicate"]
    ids = {prompt.id for prompt in open_run(load_run_config(world / "run.yaml"), folder).prompts.prompts}
    assert all(one["other"] in ids and one["source"] == "prompts.jsonl" for one in named)
    write_world(world)
    prepare(open_run(load_run_config(world / "run.yaml"), folder))
    assert not (folder.path / "left_out_prompts.json").exists()
