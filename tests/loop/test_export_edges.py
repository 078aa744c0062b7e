"""Exports at their edges: broken templates and run files, rounds of rejects alone, a kill between two files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loop.export import export
from loop.export_wanted import Wanted
from records.store import RowStore, read_rows
from tests.loop.in_process import Command
from tests.loop.test_export_refusals import command, files_of, refused
from tests.loop.toy_export import outcomes, write_rows
from tests.tracked import ROOT

__all__ = ["command"]


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content + 1 }}{% endfor %}",
        "{% for m in messages %}{{ 1 / 0 }}{% endfor %}",
        "{% for i in range(1000000000) %}x{% endfor %}",
        "{% for m in messages %}{{ m.content.nope.x }}{% endfor %}",
        "{{ messages[99].content }}",
    ],
)
def test_a_template_that_fails_is_told_in_words(command: Command, tmp_path: Path, template: str) -> None:
    (tmp_path / "broken.jinja").write_text(template)
    told = refused(command, "toy", "--to", "trl-standard", "--template", "broken.jinja", "-o", "o")
    assert "broken.jinja" in told and "template" in told


def test_a_folder_that_holds_no_tokeniser_is_told_in_words(command: Command, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    (tmp_path / "model" / "tokenizer_config.json").write_text('{"tokenizer_class":"PreTrainedTokenizerFast"}')
    told = refused(command, "toy", "--to", "trl-standard", "--template", "model", "-o", "o")
    assert "no tokeniser can be loaded" in told


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("report.json", {"rounds": [{}]}, "report.json: is not what constitute writes"),
        ("report.json", {"rounds": "x"}, "report.json: is not what constitute writes"),
        ("config.json", {"rounds": "x"}, "config.json: rounds is 'x'; expected a number"),
    ],
)
def test_files_of_a_run_that_were_changed_are_told(
    command: Command, tmp_path: Path, name: str, content: Any, words: str
) -> None:
    (tmp_path / "outputs" / "toy" / name).write_text(json.dumps(content))
    assert words in refused(command, "toy", "--to", "trl", "-o", "o")


def test_a_round_without_a_pair_is_in_the_card_with_its_rejects(command: Command, tmp_path: Path) -> None:
    toy = tmp_path / "outputs" / "toy"
    (toy / "config.json").write_text('{"rounds": 3}')
    write_rows(toy / "round_02", [row for row in outcomes(2) if hasattr(row, "reason")])
    assert command("toy", "--to", "trl", "-o", "o", "--include-rejects")[0] == 0
    assert "| 2, train | 2 | 0 |" in (tmp_path / "o" / "README.md").read_text()
    rejects = [json.loads(line) for line in (tmp_path / "o" / "rejects" / "train.jsonl").open()]
    assert {row["provenance"]["round"] for row in rejects} == {0, 1, 2}
    assert "no pair to export" in refused(command, "toy", "--to", "trl", "-o", "p", "--rounds", "2")


def test_pairs_that_filters_have_decided_on_are_not_exported(command: Command, tmp_path: Path) -> None:
    """As a kill between the decision and its end leaves them."""
    round_0 = tmp_path / "outputs" / "toy" / "round_00"
    going = [row["id"] for row in read_rows(round_0 / "pairs")][:3]
    (round_0 / "moved.json").write_text(json.dumps({id: ["duplicate", "says the same"] for id in going}))
    assert "17 pairs as trl" in command("toy", "--to", "trl", "-o", "o")[1]
    found = {json.loads(line)["id"] for path in (tmp_path / "o").rglob("*.jsonl") for line in path.open()}
    assert len(found) == 17 and not found & {*going}


def test_rows_of_another_round_are_counted(command: Command, tmp_path: Path) -> None:
    store = RowStore(tmp_path / "outputs" / "toy" / "round_01" / "pairs")
    (stray, *_) = [row for row in outcomes(7) if not hasattr(row, "reason")]
    store.append(stray)
    store.close()
    told = command("toy", "--to", "trl", "-o", "o")[1]
    assert "20 pairs as trl" in told and "left out, of another round: 1" in told
    assert "1 rows that name another round" in (tmp_path / "o" / "README.md").read_text()


KILLED = """
import os, signal
from pathlib import Path
import loop.export
from loop.export_wanted import Wanted
real = os.replace
def kill_after(source, place):
    real(source, place)
    if str(place) == "one.jsonl":
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = kill_after
loop.export.export(Wanted(Path("outputs/toy"), "trl", Path("one.jsonl"), splits=("train",)))
"""


def killed_between_files(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=folder, env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (folder / "one.jsonl").exists() and not (folder / "one.md").exists()


def test_after_a_kill_between_data_and_card_the_same_command_completes(command: Command, tmp_path: Path) -> None:
    killed_between_files(tmp_path)
    assert command("toy", "--to", "trl", "-o", "one.jsonl", "--splits", "train")[0] == 0
    assert (tmp_path / "one.jsonl").read_bytes().count(b"\n") == 10
    assert (tmp_path / "one.md").read_text().startswith("---\n")
    assert not list(tmp_path.glob(".*"))


def test_what_somebody_wrote_over_a_killed_exports_file_is_kept(command: Command, tmp_path: Path) -> None:
    killed_between_files(tmp_path)
    (tmp_path / "one.jsonl").write_text("mine")
    status, told = command("toy", "--to", "trl", "-o", "one.jsonl", "--splits", "train")
    assert (status, "one.jsonl: is there already" in told) == (2, True)
    assert (tmp_path / "one.jsonl").read_text() == "mine"


def test_every_file_is_handed_to_the_disk_before_it_takes_its_place(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[tuple[int, int]] = set()
    real = os.fsync

    def note(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.add((found.st_ino, found.st_size))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    export(Wanted(Path("outputs/toy"), "trl", Path("o")))
    names = {"README.md", "train.jsonl", "validation.jsonl"}
    assert files_of(tmp_path / "o") == names
    assert {((tmp_path / "o" / name).stat().st_ino, (tmp_path / "o" / name).stat().st_size) for name in names} <= synced
