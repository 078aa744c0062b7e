"""What a person reads when an input is wrong: words and exit 2, never a traceback, and nothing lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loop.in_process import Command, in_process
from tests.loop.scripted_run import write_model_folder, write_world
from tests.tracked import ROOT


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs `constitute ARGUMENTS` in this process, in a folder with a run file; gives status, and all it printed."""
    monkeypatch.chdir(write_world(tmp_path))
    with in_process(monkeypatch, capsys) as run:
        yield run


def refused(command: Command, *arguments: str) -> str:
    status, told = command(*arguments)
    assert status == 2, told
    assert "Traceback" not in told
    return told


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["nosuch"], "No such command 'nosuch'"),
        (["run"], "Missing argument"),
        (["run", "--foo", "run.yaml"], "No such option"),
        (["train", "run.yaml", "--round", "x"], "--round"),
        ([], "Commands:"),
    ],
)
def test_wrong_usage_is_told_in_words(command: Command, arguments: list[str], found: str) -> None:
    assert found in refused(command, *arguments)


@pytest.mark.parametrize("verb", ["run", "generate", "train", "evaluate", "check"])
def test_a_bad_run_file_is_told_by_every_verb(command: Command, tmp_path: Path, verb: str) -> None:
    assert "nosuch.yaml: found no such file" in refused(command, verb, "nosuch.yaml")
    (tmp_path / "bad.yaml").write_text("model: m\nsources: [unclosed\n")
    assert "malformed YAML" in refused(command, verb, "bad.yaml")
    (tmp_path / "bad.yaml").write_text("modle: m\nsources: []\nrounds: 2\n")
    told = refused(command, verb, "bad.yaml")
    assert "line 1: found the unknown key 'modle'" in told
    assert "Did you mean 'model'?" in told
    assert "found no constitution" in told
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("model=./nosuch", "model: ./nosuch: found no config.json"),
        ("model=templateless", "found no chat template"),
        ("constitution=nosuch", "expected a path or one of"),
        ("constitution=twice.yaml", "'polite'"),
        ("sources=[nosuch.jsonl]", "nosuch.jsonl: no such file"),
        ("sources=[empty.jsonl]", "empty.jsonl: holds no prompts"),
        ("sources=[columns.jsonl]", "columns.jsonl, line 1"),
        ("sources=[mixed.jsonl]", "mixed.jsonl, line 2"),
        ("rounds=0", "rounds: found 0"),
        ("trian.beta=1", "Did you mean 'train'?"),
    ],
)
def test_what_a_run_needs_is_looked_at_before_anything_runs(
    command: Command, tmp_path: Path, override: str, found: str
) -> None:
    write_model_folder(tmp_path / "templateless", chat_template_jinja=True)
    (tmp_path / "twice.yaml").write_text((tmp_path / "toy.yaml").read_text() + "  - id: polite\n    text: Again.\n")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "columns.jsonl").write_text('{"question": "How?", "text": "So."}\n')
    (tmp_path / "mixed.jsonl").write_text('{"prompt": "a"}\nnot json\n{"prompt": "b"}\n')
    for verb in ("check", "run"):
        told = refused(command, verb, "run.yaml", override)
        assert found in told
        assert "expected" in told or "should be" in told
    assert not (tmp_path / "outputs").exists()


def test_check_says_all_that_is_wrong_at_once(command: Command) -> None:
    told = refused(command, "check", "run.yaml", "model=./nosuch", "constitution=nosuch", "sources=[a.jsonl]")
    for words in ("./nosuch", "'nosuch'", "a.jsonl"):
        assert words in told


def test_check_says_what_a_run_file_holds(command: Command, tmp_path: Path) -> None:
    status, told = command("check", "run.yaml", "rounds=2", "prompts_per_round=20")
    assert status == 0
    assert "2 rounds of model under constitution toy" in told
    assert "47 train, 5 validation, 8 test; fresh, 20 a round" in told
    assert not (tmp_path / "outputs").exists()
    assert not (tmp_path / "unused").exists()
    status, told = command("check", "toy.yaml")
    assert status == 0
    assert "polite" in told


@pytest.mark.parametrize("name", [".", "..", ""])
def test_a_run_is_named_by_a_name_or_a_path(command: Command, name: str) -> None:
    assert "--run" in refused(command, "run", "run.yaml", "--run", name)


def test_a_name_or_a_place_that_cannot_be_is_told_plainly(command: Command, tmp_path: Path) -> None:
    assert "choose a shorter name" in refused(command, "run", "run.yaml", "--run", "n" * 300)
    (tmp_path / "taken").write_text("")
    assert "taken" in refused(command, "run", "run.yaml", "--outputs", "taken")
    assert "taken" in refused(command, "run", "run.yaml", "--run", "./taken")


def test_a_report_needs_a_run(command: Command) -> None:
    assert "nosuch: no config.json; expected the folder of a run" in refused(command, "report", "nosuch")


@pytest.mark.parametrize("redo", ["train", "train@", "train@x", "trian@1", "train@-3", "@1"])
def test_redo_names_a_stage_and_a_round(command: Command, redo: str) -> None:
    assert "expected STAGE@ROUND" in refused(command, "run", "run.yaml", "--redo", redo)


def test_a_redo_takes_nothing_out_when_the_inputs_are_wrong(command: Command, tmp_path: Path) -> None:
    kept = tmp_path / "outputs" / "run" / "round_00" / "evaluation.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    refused(command, "run", "run.yaml", "model=./nosuch", "--redo", "evaluate@0")
    assert kept.exists()


def test_a_round_before_the_first_trained_one_is_asked_for(command: Command) -> None:
    told = refused(command, "generate", "run.yaml", "--round", "1", "rounds=2")
    assert "round_00: stage train is not done" in told and "`constitute train CONFIG --round 0` first" in told


def test_an_import_writes_over_nothing(command: Command, tmp_path: Path) -> None:
    before = (tmp_path / "toy.yaml").read_text()
    assert "toy.yaml: there is such a file already" in refused(
        command, "import-constitution", "x.json", "-o", "toy.yaml"
    )
    assert (tmp_path / "toy.yaml").read_text() == before


def test_help_names_every_verb(command: Command) -> None:
    status, told = command("--help")
    assert status == 0
    for verb in ("run", "generate", "train", "evaluate", "check", "report", "import-constitution", "config", "export"):
        assert f"  {verb} " in told


def test_a_bug_of_this_project_keeps_its_traceback(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("loop.config.load_run_config", broken)
    with pytest.raises(ZeroDivisionError):
        command("run", "run.yaml")


def test_the_settings_are_described_though_starts_do_not_read_their_descriptions() -> None:
    """In processes of their own: descriptions are read only where the command is `config`."""
    for arguments, told in (
        (("config", "--schema"), "Passes over the pairs. Preference training overfits quickly"),
        (("config",), "min_pairs: Fewer train pairs than this in a round end the loop"),
    ):
        command = [sys.executable, "-m", "loop.cli", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert told in done.stdout


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ((), "training: dpo, start_from previous, reference previous, beta 0.1, lr 5e-06"),
        (("train.method=sft", "train.learning_rate=1e-4"), "training: sft, start_from previous, lr 0.0001"),
        (("train.method=reward", "reward.folds=3"), "training: a reward model alone, lr 0.0001, folds 3"),
    ],
)
def test_check_says_what_is_trained(command: Command, settings: tuple[str, ...], told: str) -> None:
    status, said = command("check", "run.yaml", *settings)
    assert status == 0 and told in said


def test_check_refuses_settings_that_mean_nothing_under_the_method(command: Command) -> None:
    told = refused(command, "check", "run.yaml", "train.method=sft", "train.beta=0.3", "train.reference=base")
    assert "method is sft, which makes no use of beta (0.3), reference (base); leave them out" in told
