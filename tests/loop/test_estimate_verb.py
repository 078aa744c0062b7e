"""`constitute estimate`: what it prints, that it keeps nothing, and what it says when it cannot."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.loop.real_run import outcome_of, run_command, write_run
from tests.loop.scripted_run import CHAINS, constitute, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("estimate"))


def kept(world: Path, temporary: Path) -> tuple[list[str], list[str]]:
    return sorted(path.name for path in world.iterdir()), sorted(path.name for path in temporary.iterdir())


def test_an_estimate_in_json_and_nothing_is_kept(world: Path, tmp_path: Path) -> None:
    before = kept(world, tmp_path)
    command = ("estimate", "run.yaml", "rounds=2", "--prompts", "9", "--chains", "2", "--json")
    done = constitute(*command, cwd=world, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert kept(world, tmp_path) == before
    told = json.loads(done.stdout)
    assert (told["calibration"]["prompts"], told["calibration"]["chains"]) == (9, 18)
    made = told["generation"]
    assert made["chains"] == CHAINS and told["rounds"] == 2
    # Two drafts of three are rude; a rude one takes four calls, another two.
    assert made["calls"]["low"] <= CHAINS * 10 / 3 <= made["calls"]["high"]
    assert made["pairs"]["low"] <= CHAINS * 2 / 3 <= made["pairs"]["high"]
    assert made["calls"]["estimate"] == pytest.approx(2 * CHAINS + 2 * made["pairs"]["estimate"])
    assert made["pairs"]["estimate"] + made["rejects"]["complies"]["estimate"] == pytest.approx(CHAINS)
    assert told["all_rounds"]["calls"]["estimate"] == 2 * made["calls"]["estimate"]
    assert made["seconds"]["estimate"] > told["calibration"]["start_seconds"] > 0
    assert told["evaluation"]["drafts"] == 16 and told["evaluation"]["policies"] == 3
    assert len(told["training"]["optimizer_steps"]) == 2 and told["training"]["seconds"] is None


def test_what_a_person_reads(world: Path) -> None:
    done = constitute("estimate", "run.yaml", "--prompts", "8", cwd=world)
    assert done.returncode == 0, done.stderr
    assert f"one round's generation, {CHAINS} chains" in done.stdout
    for words in ("calls ", "prompt tokens ", "output tokens ", "pairs ", "minutes ", "95 %"):
        assert words in done.stdout
    assert "all 1 generations" not in done.stdout
    assert "starting vLLM" in done.stderr and "calibrate: 32/32" in done.stderr


def test_a_warm_up_is_a_round_more_and_the_chains_are_those_of_the_rounds(world: Path) -> None:
    command = ("run.yaml", "train.warm_up=sft", "generate.drafts_per_prompt=2", "--prompts", "3", "--json")
    done = constitute("estimate", *command, cwd=world)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rounds"], told["generation"]["chains"]) == (2, 2 * CHAINS)


def test_a_run_folder_of_the_name_is_left_alone(world: Path) -> None:
    assert constitute("generate", "run.yaml", cwd=world).returncode == 0
    run = world / "outputs" / "run"
    state = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert constitute("estimate", "run.yaml", "--prompts", "4", cwd=world).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == state


def test_what_is_wrong_is_told_in_words(world: Path, tmp_path: Path) -> None:
    for arguments, found in (
        (("nosuch.yaml",), "found no such file"),
        (("run.yaml", "rounds=0"), "rounds"),
        (("run.yaml", "--price-in", "3"), "expected critic_model.endpoint"),
        (("run.yaml", "--prompts", "1"), "--prompts"),
    ):
        done = constitute("estimate", *arguments, cwd=world, TMPDIR=str(tmp_path))
        assert done.returncode == 2 and found in done.stderr and "Traceback" not in done.stderr
    assert not os.listdir(tmp_path)


def test_an_engine_that_cannot_start_is_told_and_its_log_stays(world: Path, tmp_path: Path) -> None:
    done = constitute("estimate", "run.yaml", cwd=world, TMPDIR=str(tmp_path), SCRIPTED_FAULT="no memory")
    assert done.returncode == 2
    assert "vLLM could not be started with model: no memory" in done.stderr and "Traceback" not in done.stderr
    (folder,) = tmp_path.iterdir()
    assert f"The log of it is in {folder / 'logs'}." in done.stderr
    assert "RuntimeError: no memory" in (folder / "logs" / "calibrate_00.log").read_text()


@pytest.mark.soak  # benchmarks/estimate.py holds its figures against real runs
@pytest.mark.model
def test_the_real_engine_under_a_load(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    command = ("estimate", "small.yaml", "generate.in_flight=8", "--prompts", "6", "--chains", "2", "--json")
    status, out, told = outcome_of(run_command(*command, cwd=folder), 280)
    assert status == 0, told
    found = json.loads(out)
    assert found["calibration"]["chains"] == 12 and 16 <= found["calibration"]["chains_timed"] <= 48
    assert found["generation"]["chains"] == 48
    for name in ("calls", "prompt_tokens", "output_tokens", "pairs", "seconds"):
        figures = found["generation"][name]
        assert 0 <= figures["low"] <= figures["estimate"] <= figures["high"]
    # Four principles: a chain takes 5 calls where nothing is wrong, and up to some 20.
    assert 5 <= found["generation"]["calls"]["estimate"] / 48 <= 20
    assert sorted(path.name for path in folder.iterdir()) == ["small.yaml"]
