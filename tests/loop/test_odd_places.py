"""Runs where clocks, locales and prompts are not what one expects; the engine alone is scripted."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from tests.loop.scripted_run import CHAINS, constitute, rows, start, write_world
from tests.loop.test_stopped import until

ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
ODD = "say 61 \U0001f680 \u05e9\u05dc\u05d5\u05dd \x00 \u2013 {{ x }} <|im_end|>"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path / "world")


def add_prompts(world: Path, *texts: str) -> None:
    with open(world / "prompts.jsonl", "a", encoding="utf-8") as file:
        file.write("".join(json.dumps({"prompt": text}, ensure_ascii=False) + "\n" for text in texts))


def test_where_the_locale_knows_ascii_alone_nothing_breaks_and_nothing_is_lost(world: Path) -> None:
    add_prompts(world, *(f"{ODD} {number}" for number in range(8)))
    # A name that ASCII cannot hold is bytes to Python here.
    for command in (("run", "run.yaml"), ("run", "run.yaml", "--run", "r\u00e9"), ("report", "r\u00e9")):
        done = constitute(*command, cwd=world, **ASCII)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and done.stdout.isascii()
    done = constitute("export", "run", "--to", "trl", "-o", "e\u00e9", cwd=world, **ASCII)
    assert done.returncode == 0, done.stderr
    exported = (world / "e\u00e9" / "train.jsonl").read_text(encoding="utf-8")
    asked = {row["prompt"][0]["content"] for row in rows(world / "outputs" / "run" / "round_00")}
    assert len([text for text in asked if text.startswith(ODD)]) >= 5
    assert ODD in "".join(json.loads(line)["prompt"][0]["content"] for line in exported.splitlines())
    told = constitute("check", "nosuch\u00e9.yaml", cwd=world, **ASCII)
    assert told.returncode == 2 and "Traceback" not in told.stderr


def test_a_clock_set_back_and_another_time_zone_between_two_starts_change_nothing(world: Path) -> None:
    process = start("generate", "run.yaml", cwd=world, SCRIPTED_PAUSE="0.1", TZ="Pacific/Kiritimati")
    round_0 = world / "outputs" / "run" / "round_00"
    until(lambda: len(rows(round_0)) >= 5, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = rows(round_0)
    # To the next start all that is there was written years ahead.
    ahead = time.time() + 4e8
    for path in [world, *world.rglob("*")]:
        os.utime(path, (ahead, ahead))
    done = constitute("run", "run.yaml", cwd=world, TZ="America/Los_Angeles", SCRIPTED_CLOCK="-4e8")
    assert done.returncode == 0, done.stderr
    after = {row["id"]: row for row in rows(round_0)}
    assert len(after) == CHAINS == len(rows(round_0))
    assert all(after[row["id"]] == row for row in before) and len(before) >= 5
    report = json.loads((world / "outputs" / "run" / "report.json").read_text())
    assert 0 < report["seconds"] < 300
    again = constitute("run", "run.yaml", cwd=world, TZ="Asia/Kathmandu")
    assert again.returncode == 0 and "starting vLLM" not in again.stderr


def test_a_prompt_of_a_megabyte_is_a_reject_and_costs_seconds(world: Path) -> None:
    long = [one * (1_000_000 // len(one.encode())) for one in ("x", "word ", "<|im_end|>", "\U0001f680", "\n\n- ")]
    texts = [f"{text} {number}" for text in long for number in range(2)]
    add_prompts(world, *texts)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = constitute("run", "run.yaml", "splits.test=0.3", "evaluate.drafts=4", cwd=world)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = [row for row in rows(world / "outputs" / "run" / "round_00") if len(row["prompt"][0]["content"]) > 200_000]
    assert 3 <= len(found) < len(texts), "some are evaluated"
    assert {row["reason"] for row in found} == {"too_long"}
    assert all("> context 2048" in row["detail"] for row in found)
    assert all(row["prompt"][0]["content"] in texts for row in found), "nothing is cut"
    # Half of it is what the starts take; at the square of the length it would be hours.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 120
