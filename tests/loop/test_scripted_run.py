"""One run with a scripted engine, up to training: what it leaves on disk, and what the same command does next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from constitution.load import load_constitution
from loop.config import load_run_config
from loop.folder import RunFolder, end_stage
from loop.inputs import open_run, train_inputs
from tests.loop.scripted_run import CHAINS, constitute, rows, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_world(tmp_path_factory.mktemp("scripted"))
    # Of these, some fall into test and some into train.
    long = [{"prompt": f"say {number} " + "x" * 3000} for number in range(60, 72)]
    with open(folder / "prompts.jsonl", "a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in long))
    done = constitute("run", "run.yaml", cwd=folder)
    (folder / "first.json").write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def state(run: Path) -> dict[str, int]:
    """When each file of the rounds was last written."""
    return {path.relative_to(run).as_posix(): path.stat().st_mtime_ns for path in (run / "round_00").rglob("*")}


def test_too_few_pairs_end_the_loop_with_a_report_and_exit_0(world: Path) -> None:
    status, out, _ = read(world / "first.json")
    assert status == 0
    assert "fewer than min_pairs (1000)" in out
    report = read(world / "outputs" / "run" / "report.json")
    assert report["status"] == "too_few_pairs"
    assert len(report["rounds"]) == 1
    assert "training" not in report["rounds"][0]
    assert (world / "outputs" / "run" / "report.md").read_text()
    assert (world / "outputs" / "run" / "rounds.png").read_bytes().startswith(b"\x89PNG")


def test_what_people_see_is_plain_lines_when_there_is_no_terminal(world: Path) -> None:
    _, out, told = read(world / "first.json")
    assert "\x1b" not in out + told
    assert "\r" not in out + told
    assert "evaluate round 0:" in told
    assert "generate round 0:" in told
    assert "outputs/run/report.md" in out


def test_a_prompt_too_long_is_a_counted_row_and_never_cut(world: Path) -> None:
    found = rows(world / "outputs" / "run" / "round_00")
    long = [row for row in found if len(row["prompt"][0]["content"]) > 3000]
    assert long
    assert {row["reason"] for row in long} == {"too_long"}
    report = read(world / "outputs" / "run" / "report.json")["rounds"][0]
    assert report["generation"]["rejects"]["too_long"] == len(long)
    assert len(found) == CHAINS + len(long) == report["generation"]["chains"]
    assert report["evaluation"]["too_long"] == 2 * (12 - len(long)) > 0


def test_a_run_can_be_repeated_from_its_folder(world: Path) -> None:
    run = world / "outputs" / "run"
    original = load_constitution(world / "toy.yaml")
    assert load_constitution(run / "constitution.yaml").digest == original.digest
    config, provenance = read(run / "config.json"), read(run / "provenance.json")
    assert (config["rounds"], config["generate"]["critic"]["temperature"]) == (1, 0.0)
    assert provenance["constitution_digest"] == original.digest
    assert provenance["template_digest"] == original.template_digest
    assert provenance["prompts"]["train"]["count"] > 40
    assert provenance["packages"]["pydantic"]
    row = rows(run / "round_00")[0]["provenance"]
    assert (row["run"], row["round"], row["constitution_digest"]) == ("run", 0, original.digest)


def test_the_same_command_again_does_nothing(world: Path) -> None:
    run = world / "outputs" / "run"
    before, report = state(run), read(run / "report.json")
    again = constitute("run", "run.yaml", cwd=world)
    assert again.returncode == 0
    assert "starting vLLM" not in again.stderr
    assert state(run) == before
    assert read(run / "report.json") == report


def test_another_config_is_refused_before_anything_is_changed(world: Path) -> None:
    run = world / "outputs" / "run"
    before, config = state(run), (run / "config.json").read_bytes()
    refused = constitute("run", "run.yaml", "generate.draft.temperature=0.5", cwd=world)
    assert refused.returncode == 2
    assert "generate.draft.temperature: was 1.0, now 0.5" in refused.stderr
    assert "--redo generate@0" in refused.stderr
    assert (state(run), (run / "config.json").read_bytes()) == (before, config)
    elsewhere = constitute("evaluate", "run.yaml", "generate.draft.temperature=0.5", "--run", "other", cwd=world)
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert (world / "outputs" / "other" / "round_00" / "evaluate.done.json").exists()
    assert state(run) == before


def test_redo_makes_a_stage_anew_under_other_settings(world: Path) -> None:
    run = world / "outputs" / "run"
    before = state(run)
    redone = constitute(
        "run", "run.yaml", "generate.draft.temperature=0.5", "--redo", "generate@0", cwd=world
    )  # fmt: skip
    assert redone.returncode == 0, redone.stderr
    after = state(run)
    assert after["round_00/evaluation.json"] == before["round_00/evaluation.json"]
    assert after["round_00/generate.done.json"] != before["round_00/generate.done.json"]
    found = rows(run / "round_00")
    drawn = {author: {row["provenance"][author]["temperature"] for row in found} for author in ("policy", "critic")}
    assert drawn == {"policy": {0.5}, "critic": {0.0}}
    assert len(found) == len({row["id"] for row in found}) > CHAINS


def give_adapter(
    world: Path, run: str, monkeypatch: pytest.MonkeyPatch, *, probe_digest: str | None = None, new: float
) -> str:
    """An adapter as if round 0 had trained it, and its probe; the scripted engine scores every token at -1 nat."""
    from records.digest import adapter_digest

    folder = world / "outputs" / run / "round_00"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter" / "adapter_config.json").write_text('{"r": 16}')
    digest = adapter_digest(folder / "adapter")
    sequence = {"token_ids": list(range(101)), "first": 1, "new": [new] * 100, "previous": [-1.5] * 100}
    probe = {"new_digest": probe_digest or digest, "previous_digest": "", "sequences": [sequence] * 7}
    (folder / "probe.json").write_text(json.dumps(probe))
    monkeypatch.chdir(world)
    opened = open_run(load_run_config(world / "run.yaml", ["rounds=2"]), RunFolder(folder.parent))
    end_stage(opened.folder, "train", 0, train_inputs(opened, 0), outputs={}, seconds=0.0)
    return digest


@pytest.mark.parametrize("verb", ["generate", "evaluate"])
@pytest.mark.parametrize(
    ("probe", "told"),
    [
        ({"probe_digest": "another", "new": -1.0}, "made for adapter another"),
        ({"new": -2.5}, "the engine speaks like the previous policy"),
    ],
)
def test_no_draft_is_made_by_an_adapter_that_is_not_the_trained_one(
    world: Path, verb: str, probe: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{verb}-{len(probe)}"
    give_adapter(world, name, monkeypatch, **probe)
    refused = constitute(verb, "run.yaml", "rounds=2", "--round", "1", "--run", name, cwd=world)
    assert refused.returncode == 2, refused.stderr
    assert told in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list((world / "outputs" / name).rglob("part-*.jsonl"))


def test_the_drafts_of_a_round_carry_the_digest_of_the_adapter_that_was_proven(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = give_adapter(world, "proven", monkeypatch, new=-1.0)
    done = constitute("generate", "run.yaml", "rounds=2", "--round", "1", "--run", "proven", cwd=world)
    assert done.returncode == 0, done.stderr
    found = rows(world / "outputs" / "proven" / "round_01")
    assert {row["provenance"]["policy"]["adapter_digest"] for row in found} == {digest}
    assert {row["provenance"]["critic"]["adapter_digest"] for row in found} == {""}
    proof = read(world / "outputs" / "proven" / "round_01" / "generate.done.json")["outputs"]["hand_off"]
    assert (proof["outcome"], proof["adapter_digest"]) == ("proven", digest)


def test_a_stage_waits_for_the_one_before_it(world: Path) -> None:
    """A verb typed too early says what comes first, and leaves nothing behind that the right order would trip over."""
    for verb, number, first in (("train", 0, "generate"), ("generate", 1, "train"), ("evaluate", 1, "train")):
        early = constitute(verb, "run.yaml", "rounds=2", "--round", str(number), "--run", "early", cwd=world)
        assert early.returncode == 2, early.stderr
        assert f"stage {first} is not done" in early.stderr and f"`constitute {first} CONFIG --round 0`" in early.stderr
        assert "Traceback" not in early.stderr
    assert not list((world / "outputs" / "early").rglob("*.started.json"))
    assert constitute("generate", "run.yaml", "rounds=2", "--run", "early", cwd=world).returncode == 0


def test_settings_that_could_not_work_can_be_mended(world: Path) -> None:
    command = ("generate", "run.yaml", "--run", "mended")
    refused = constitute(*command, "engine.context=1000", cwd=world, SCRIPTED_FAULT="no memory")
    assert refused.returncode == 2, refused.stderr
    mended = constitute(*command, cwd=world)
    assert mended.returncode == 0, mended.stderr


def test_an_adapter_whose_settings_are_torn_is_told(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_adapter(world, "torn", monkeypatch, new=-1.0)
    (world / "outputs" / "torn" / "round_00" / "adapter" / "adapter_config.json").write_text("{")
    told = constitute("generate", "run.yaml", "rounds=2", "--round", "1", "--run", "torn", cwd=world)
    assert told.returncode == 2 and "the adapter cannot be read" in told.stderr and "Traceback" not in told.stderr


def test_an_engine_that_cannot_start_is_told_in_words_and_its_own_are_in_the_log(world: Path) -> None:
    fault = "Model architectures ['Nosuch'] are not supported\nmore of it"
    refused = constitute("generate", "run.yaml", "--run", "unstarted", cwd=world, SCRIPTED_FAULT=fault)
    assert refused.returncode == 2, refused.stderr
    assert "vLLM could not be started with model: Model architectures ['Nosuch'] are not supported." in refused.stderr
    assert "Traceback" not in refused.stderr
    log = (world / "outputs" / "unstarted" / "logs" / "generate_00.log").read_text()
    assert "Traceback" in log
    assert "RuntimeError: Model architectures" in log
