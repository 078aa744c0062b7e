"""What is wrong with preference data is told before the first step: all of it at once, by row, whatever the method."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loop.config import load_run_config
from loop.folder import RunFolder
from loop.inputs import open_run
from tests.loop.in_process import Command, in_process
from tests.loop.scripted_run import constitute, write_world
from tests.tracked import ROOT

MODEL = (f"model={ROOT / 'demo' / 'model'}", "engine.context=1024", "train.max_tokens=64")
OWN = "train.pairs_from=[own.jsonl, more.jsonl]"


def user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def said(content: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": content}]


def write(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    monkeypatch.chdir(write_world(tmp_path))
    with in_process(monkeypatch, capsys) as run:
        yield run


GOOD = {"prompt": "a? ", "chosen": "yes", "rejected": "no"}
WRONG: list[tuple[Any, str]] = [
    ({**GOOD, "chosen": " "}, "chosen is empty; expected text"),
    ({**GOOD, "chosen": "", "rejected": "\n"}, "chosen is empty and rejected is empty; expected text"),
    ({**GOOD, "rejected": "yes"}, "chosen equals rejected; expected two different answers"),
    ({"prompt": "a? ", "chosen": "yes"}, "no column rejected (found prompt, chosen)"),
    ({"question": "a?", "answer": "yes"}, "no column chosen and no column rejected (found question, answer)"),
    (
        {"prompt": said("a"), "chosen": said("b"), "rejected": said("c")},
        "turns of prompt are assistant; expected user and assistant in turn, a user turn last",
    ),
    (
        {"prompt": [*user("a"), *user("b")], "chosen": user("c"), "rejected": said(" ")},
        "turns of prompt are user, user; expected user and assistant in turn, a user turn last; turns of chosen are "
        "user; expected one assistant turn; rejected is empty; expected text",
    ),
    ({**GOOD, "split": "test"}, "split is 'test', which is held out for evaluation; expected train or validation"),
    ("{torn\n", "not JSON"),
]


@pytest.mark.parametrize("method", ["dpo", "sft", "reward"])
def test_every_problem_of_every_file_is_told_with_its_row_at_once(
    command: Command, tmp_path: Path, method: str
) -> None:
    write(tmp_path / "own.jsonl", [GOOD, *(row for row, _ in WRONG), GOOD, {**GOOD, "chosen": " "}])
    write(tmp_path / "more.jsonl", [GOOD, GOOD, {**GOOD, "rejected": "yes"}])
    status, told = command("train", "run.yaml", *MODEL, OWN, f"train.method={method}")
    assert status == 2 and "Traceback" not in told
    empty, *others = WRONG
    assert f"own.jsonl: rows 2, 12: {empty[1]}" in told
    for number, (_, words) in enumerate(others, start=3):
        assert f"own.jsonl: row {number}: {words}" in told
    assert "more.jsonl: row 3: chosen equals rejected" in told
    assert f"{len(WRONG) + 1} problems in the pairs; nothing was trained." in told
    assert not list((tmp_path / "outputs").rglob("*.started.json"))


@pytest.mark.model
@pytest.mark.parametrize("method", ["sft", "reward"])
def test_what_is_left_out_is_listed_by_file_and_row(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over-long pairs, held-out prompts and pairs that contradict each other are no reason to end a run."""
    world = write_world(tmp_path)
    monkeypatch.chdir(world)
    prompts = open_run(load_run_config(world / "run.yaml", MODEL), RunFolder(world / "unused")).prompts
    held_out = [prompts.of(split)[0].messages[0].content for split in ("validation", "test")]
    good = [{**GOOD, "prompt": f"{name}? "} for name in ("how", "why", "when", "where")]
    write(world / "own.jsonl", [*good, {**GOOD, "chosen": "Well. " * 60}, *({**GOOD, "prompt": q} for q in held_out)])
    write(world / "more.jsonl", [{**GOOD, "prompt": "b? "}, {"prompt": "b? ", "chosen": "no", "rejected": "yes"}])
    fast = ("train.learning_rate=1e-3", "train.epochs=1") if method == "sft" else ("reward.learning_rate=1e-3",)
    done = constitute("train", "run.yaml", *MODEL, OWN, f"train.method={method}", *fast, cwd=world)
    assert done.returncode == 0, done.stderr
    stage, name = ("train", "left_out.json") if method == "sft" else ("reward", "reward_left_out.json")
    round_0 = world / "outputs" / "run" / "round_00"
    figures = json.loads((round_0 / f"{stage}.done.json").read_text())["outputs"]
    assert [figures[reason] for reason in ("pairs", "too_long", "held_out", "contradictory")] == [4, 1, 2, 2]
    assert json.loads((round_0 / name).read_text()) == {
        "too_long": ["own.jsonl:5"], "same_tokens": [], "held_out": ["own.jsonl:6", "own.jsonl:7"],
        "contradictory": ["more.jsonl:1", "more.jsonl:2"],
    }  # fmt: skip
