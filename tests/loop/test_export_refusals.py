"""What `constitute export` will not do, told in words with exit status 2, and nothing left behind."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from records.atomic import built_aside
from records.compact import compact_round
from records.errors import StageError
from records.rows import Message
from records.store import shards
from tests.loop.in_process import Command, in_process
from tests.loop.toy_export import outcome_of, script, talk, write_rows, write_run, write_template
from tests.tracked import ROOT


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs `constitute export ARGUMENTS` in this process, where a run `toy` lies; gives status and all it printed."""
    write_run(tmp_path / "outputs" / "toy", compacted=False)
    write_template(tmp_path)
    monkeypatch.chdir(tmp_path)
    with in_process(monkeypatch, capsys, "export") as run:
        yield run


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def refused(command: Command, *arguments: str) -> str:
    before = files_of(Path.cwd())
    status, told = command(*arguments)
    assert status == 2, told
    assert "Traceback" not in told
    assert files_of(Path.cwd()) == before
    assert not list(Path.cwd().rglob("*.partial"))
    return told


def test_an_export_is_told_in_a_line(command: Command, tmp_path: Path) -> None:
    status, told = command("toy", "--to", "trl", "-o", "new/out", "--splits", "train")
    assert (status, told.splitlines()[0]) == (0, "10 pairs as trl: new/out")
    assert "export toy as trl: 28 in " in told
    assert files_of(tmp_path / "new") == {"out/README.md", "out/train.jsonl"}
    status, told = command("outputs/toy/round_00/pairs", "--to", "nemo-rl", "-o", "p.jsonl", "--splits", "validation")
    assert (status, told.splitlines()[0]) == (0, "5 pairs as nemo-rl: p.jsonl")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["nosuch", "--to", "trl", "-o", "o"], "outputs/nosuch: found neither a run"),
        (["./outputs", "--to", "trl", "-o", "o"], "expected one of them"),
        (["..", "--to", "trl", "-o", "o"], "expected a name such as demo"),
        (["toy", "--to", "csv", "-o", "o"], "--to csv: expected one of trl, trl-standard"),
        (["toy", "--to", "trl", "-o", "outputs"], "outputs: is there already"),
        (["toy", "--to", "trl", "-o", "o", "--splits", "train,test"], "never made on test prompts"),
        (["toy", "--to", "trl", "-o", "o", "--splits", ""], "expected train or validation"),
        (["toy", "--to", "trl", "-o", "o", "--rounds", "0,5"], "--rounds 5: no pairs; rounds with pairs: 0, 1"),
        (["toy", "--to", "trl", "-o", "o", "--rounds", "one"], "--rounds one: expected round numbers"),
        (["toy", "--to", "trl", "-o", "o", "--rounds", "warm_up"], "--rounds warm_up: no pairs"),
        (["toy", "--to", "trl", "-o", "o", "--licence", "mit\n---"], "--licence 'mit\\n---': expected an identifier"),
        (["toy", "--to", "trl", "-o", "o", "--template", "chat.jinja"], "--to trl-standard alone"),
        (["toy", "--to", "trl-standard", "-o", "o"], "expected --template"),
        (["toy", "--to", "trl-standard", "-o", "o", "--template", "nosuch"], "--template nosuch: cannot be read"),
        (["toy", "--to", "trl-standard", "-o", "o", "--template", "empty.jinja"], "the file is empty"),
        (["toy", "--to", "trl-standard", "-o", "o", "--template", "bad.jinja"], "not a template (line 1"),
        (["toy", "--to", "trl-standard", "-o", "o", "--template", "bos.jinja"], "writes bos_token, eos_token"),
        (["toy", "--to", "trl-standard", "-o", "o", "--template", "outputs"], "no tokeniser can be loaded"),
        (["toy", "--to", "trl", "-o", "o", "--constitution", "demo"], "is a run and holds its own"),
        (["./outputs/toy/round_00/pairs", "--to", "annotated-pairs", "-o", "o"], "expected --constitution"),
        (
            ["./outputs/toy/round_00/pairs", "--to", "trl", "-o", "o", "--constitution", "demo"],
            "made under constitution 'toy'",
        ),
        (["toy", "--to", "trl", "-o", "o.json"], "expected .json for annotated-pairs"),
        (["toy", "--to", "trl", "-o", "o.jsonl"], "a file holds one split"),
        (["toy", "--to", "open-cai", "-o", "o.jsonl"], "open-cai has several splits"),
        (["toy", "--to", "annotated-pairs", "-o", "o.json", "--include-rejects"], "writes a second table"),
        (["toy", "--to", "trl", "-o", "o", "--public"], "expected --push OWNER/NAME"),
        (["toy", "--to", "trl"], "Missing option"),
    ],
)
def test_what_cannot_be_exported_is_told(command: Command, tmp_path: Path, arguments: list[str], found: str) -> None:
    (tmp_path / "empty.jinja").write_text(" \n")
    (tmp_path / "bad.jinja").write_text("{% for x in %}")
    (tmp_path / "bos.jinja").write_text("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")
    assert found in refused(command, *arguments)


def test_all_that_is_wrong_is_told_at_once(command: Command) -> None:
    told = refused(
        command, "nosuch", "--to", "trl-standard", "-o", "outputs", "--licence", "", "--splits", "x", "--template", "y"
    )
    for words in ("outputs/nosuch:", "outputs: is there", "--licence", "--splits x", "--template y"):
        assert words in told
    assert "Nothing was written." in told


def test_what_is_there_is_never_written_over(command: Command, tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("mine")
    (tmp_path / "gone").symlink_to("nowhere")
    assert "p.md: is there already" in refused(command, "toy", "--to", "trl", "-o", "p.jsonl", "--splits", "train")
    assert "gone: is there already" in refused(command, "toy", "--to", "trl", "-o", "gone")
    assert (tmp_path / "p.md").read_text() == "mine"


def change(pairs: Path, number: int, **columns: Any) -> None:
    """Overwrite columns of a row; rows count from 1, three a shard."""
    path = shards(pairs)[(number - 1) // 3]
    lines = path.read_text().split("\n")  # a row may hold other ends of lines
    lines[(number - 1) % 3] = json.dumps(json.loads(lines[(number - 1) % 3]) | columns)
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("to", ["trl", "open-cai", "annotated-pairs"])
def test_a_row_of_the_test_split_is_refused(command: Command, tmp_path: Path, to: str) -> None:
    change(tmp_path / "outputs" / "toy" / "round_00" / "pairs", 2, split="test")
    change(tmp_path / "outputs" / "toy" / "round_01" / "rejects", 1, split="test")
    told = refused(command, "toy", "--to", to, "-o", "o", "--splits", "train")
    assert "round_00/pairs: row 2: split is 'test', which is held out" in told
    assert "round_01/rejects: row 1: split is 'test'" in told


def test_all_bad_rows_are_told_at_once(command: Command, tmp_path: Path) -> None:
    pairs = tmp_path / "outputs" / "toy" / "round_00" / "pairs"
    answer = [{"role": "assistant", "content": "Same."}]
    change(pairs, 1, more=1)
    change(pairs, 3, chosen=answer, rejected=answer)
    change(pairs, 4, chosen=[{"role": "user", "content": "x"}])
    change(pairs, 5, prompt=answer)
    change(pairs, 6, schema_version=99)
    told = refused(command, "toy", "--to", "trl", "-o", "o")
    for words in (
        "row 1: is no Pair (more: Extra inputs",
        "row 3: chosen equals rejected",
        "row 4: turns of chosen are user; expected one assistant turn",
        "row 5: turns of prompt are assistant; expected a user turn last",
        "row 6: schema_version is 99; expected 1",
        "Nothing was exported.",
    ):
        assert words in told


def test_a_damaged_shard_is_named(command: Command, tmp_path: Path) -> None:
    path = shards(tmp_path / "outputs" / "toy" / "round_00" / "pairs")[0]
    path.write_text("{]\n" + path.read_text())
    assert f"{path.name}: line 1 is not a row" in refused(command, "toy", "--to", "trl", "-o", "o")


def test_a_damaged_shard_of_a_finished_round_is_named_with_the_ways_out(command: Command, tmp_path: Path) -> None:
    round_0 = tmp_path / "outputs" / "toy" / "round_00"
    compact_round(round_0)
    path = shards(round_0 / "pairs")[1]
    path.write_bytes(path.read_bytes()[:-5000] + bytes(5000))
    told = refused(command, "toy", "--to", "trl", "-o", "o")
    assert f"{path.name}: it cannot be read as Parquet" in told
    assert "given again, sets the file aside in damaged/ and does its prompts again" in told
    assert path.exists(), "an export changes nothing"


def test_a_template_that_refuses_some_turns_is_told_with_their_rows(command: Command, tmp_path: Path) -> None:
    choosy = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    (tmp_path / "chat.jinja").write_text(choosy + (tmp_path / "chat.jinja").read_text())
    told = refused(command, "toy", "--to", "trl-standard", "-o", "o", "--template", "chat.jinja")
    assert "round_00/pairs: rows 2, 7: chat.jinja: " in told
    assert "rows 3, 8: " in told


def test_an_export_of_no_pair_is_refused(command: Command, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows", [outcome_of(script(), talk("Only train?"))])
    told = refused(command, "./rows/pairs", "--to", "trl", "-o", "o", "--splits", "validation")
    assert "no pair to export in validation" in told
    told = refused(command, "./rows/pairs", "--to", "trl", "-o", "o", "--rounds", "3")
    assert "no pair to export" in told


def test_pairs_beyond_the_end_of_a_run_are_not_of_it(command: Command, tmp_path: Path) -> None:
    (tmp_path / "outputs" / "toy" / "config.json").write_text('{"rounds": 1}')
    assert command("toy", "--to", "trl", "-o", "o")[1].startswith("10 pairs as trl: o\n")
    assert "rounds with pairs: 0." in refused(command, "toy", "--to", "trl", "-o", "p", "--rounds", "1")


def test_the_warm_ups_pairs_are_exported_when_named(command: Command, tmp_path: Path) -> None:
    from tests.generator.toy import provenance

    pair = outcome_of(script(), talk("Warm?"), provenance=provenance(round=-1))
    write_rows(tmp_path / "outputs" / "toy" / "warm_up", [pair])
    assert command("toy", "--to", "trl", "-o", "all")[1].startswith("20 pairs as trl: all\n")
    assert command("toy", "--to", "trl", "-o", "warm", "--rounds", "warm_up")[1].startswith("1 pairs as trl: warm\n")
    assert json.loads((tmp_path / "warm" / "train.jsonl").read_text())["id"] == pair.id
    assert "| warm_up, train | 1 | 1 |" in (tmp_path / "warm" / "README.md").read_text()


def test_what_a_killed_export_left_is_cleared_by_the_next(command: Command, tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom pathlib import Path\nimport loop.export\nfrom loop.export_wanted import Wanted\n"
        "loop.export.card_text = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "loop.export.export(Wanted(Path('outputs/toy'), 'trl', Path('o')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / ".o.partial" / "train.jsonl").stat().st_size > 1000
    assert not (tmp_path / "o").exists()
    (tmp_path / ".o.partial" / "old.jsonl").write_text("")
    assert command("toy", "--to", "trl", "-o", "o")[0] == 0
    assert files_of(tmp_path / "o") == {"README.md", "train.jsonl", "validation.jsonl"}
    assert not (tmp_path / ".o.partial").exists()


def test_two_exports_to_one_place_do_not_mix(tmp_path: Path) -> None:
    with built_aside(tmp_path / "o") as folder:
        (folder / "one").write_text("1")
        with pytest.raises(StageError, match="another process writes there"), built_aside(tmp_path / "o"):
            pass
        assert (folder / "one").exists()
    assert files_of(tmp_path) == {"o/one"}


@pytest.mark.parametrize("files", [None, {"one": "o", "two": "two"}])
def test_what_came_to_the_place_meanwhile_is_kept(tmp_path: Path, files: dict[str, str] | None) -> None:
    places = files and {name: tmp_path / place for name, place in files.items()}
    with pytest.raises(StageError, match="o: something came there"), built_aside(tmp_path / "o", places) as folder:
        (folder / "one").write_text("new")
        (folder / "two").write_text("new")
        (tmp_path / "o").write_text("mine")
    assert files_of(tmp_path) == {"o"}
    assert (tmp_path / "o").read_text() == "mine"


def test_a_folder_that_was_moved_to_its_place_while_waiting_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def late(*arguments: Any) -> None:
        """Another process ends its export between this one's look at the folder and its lock."""
        (tmp_path / ".o.partial" / "done").write_text("1")
        os.rename(tmp_path / ".o.partial", tmp_path / "o")
        real(*arguments)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(StageError, match="another process"), built_aside(tmp_path / "o"):
        pass
    assert (tmp_path / "o" / "done").exists()


def test_a_row_may_be_changed_within_the_rules(command: Command) -> None:
    """The helper that damages rows keeps them whole; else the tests above would pass for another reason."""
    change(Path("outputs/toy/round_00/pairs"), 4, prompt=[Message(role="user", content="x").model_dump()])
    assert command("toy", "--to", "trl", "-o", "o")[0] == 0
