"""Exports and finished rounds at an address: whole there, or told with a way out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from records.store import shards
from tests.loop.in_process import Command, in_process
from tests.loop.scripted_run import constitute, rows, write_world
from tests.loop.toy_export import write_run


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """`constitute export ARGUMENTS` beside a run named toy."""
    write_run(tmp_path / "outputs" / "toy")
    monkeypatch.chdir(tmp_path)
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    with in_process(monkeypatch, capsys, "export") as run:
        yield run


def files(address: str) -> dict[str, bytes]:
    system, root = fsspec.core.url_to_fs(address)
    return {name.removeprefix(root).lstrip("/"): system.cat_file(name) for name in system.find(root)}


def test_an_export_to_an_address_is_the_export_to_a_folder(command: Command, tmp_path: Path) -> None:
    status, told = command("toy", "--to", "trl", "--include-rejects", "--out", "memory://bucket/export")
    assert status == 0 and told.startswith("20 pairs as trl: memory://bucket/export\n")
    assert command("toy", "--to", "trl", "--include-rejects", "-o", "export")[0] == 0
    folder = tmp_path / "export"
    assert files("memory://bucket/export") == {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    status, told = command("toy", "--to", "trl", "--out", "memory://bucket/export")
    assert status == 2 and "memory://bucket/export: is there already (5 files); expected a new name" in told


def test_one_file_goes_with_its_card(command: Command) -> None:
    status, _ = command("toy", "--to", "trl", "--splits", "train", "--out", "memory://bucket/one/pairs.jsonl")
    assert status == 0
    found = files("memory://bucket/one")
    assert set(found) == {"pairs.jsonl", "pairs.md"} and len(found["pairs.jsonl"].splitlines()) == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "nosuch://x/y"), "nosuch://x/y: no file system to reach it"),
        (("--out", "memory://x/y", "--push", "owner/name"), "expected -o FOLDER"),
        (("--out", "file:///proc/nowhere"), "the place could not be used"),
    ],
)
def test_a_place_that_cannot_be_is_told(command: Command, arguments: tuple[str, ...], words: str) -> None:
    status, told = command("toy", "--to", "trl", *arguments)
    assert status == 2 and words in told and "Traceback" not in told


def test_a_round_is_published_as_its_stage_ends(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world")
    elsewhere = f"generate.publish_to=file://{tmp_path}/bucket"
    early = constitute("generate", "run.yaml", "generate.publish_to=file:///proc/nowhere", cwd=world)
    assert early.returncode == 2 and "Nothing was run" in early.stderr and "Traceback" not in early.stderr
    assert not (world / "outputs" / "run" / "round_00" / "pairs").exists()
    done = constitute("generate", "run.yaml", elsewhere, cwd=world)
    assert done.returncode == 0, done.stderr
    assert "4 files copied to file://" in done.stderr
    round_0, copy = world / "outputs" / "run" / "round_00", tmp_path / "bucket" / "run" / "round_00"
    for kind in ("pairs", "rejects"):
        assert [path.name for path in shards(copy / kind)] == [path.name for path in shards(round_0 / kind)]
    assert rows(copy) == rows(round_0)
    assert json.loads((round_0 / "published.json").read_text())["address"].endswith("bucket/run/round_00")
    # Where a round is copied to makes it no other round, and one that is done goes to another place too.
    again = constitute("generate", "run.yaml", elsewhere, cwd=world)
    assert again.returncode == 0 and "copied" not in again.stderr and "starting vLLM" not in again.stderr
    other = constitute("generate", "run.yaml", f"generate.publish_to=file://{tmp_path}/other", cwd=world)
    assert other.returncode == 0 and "4 files copied to file://" in other.stderr, other.stderr
    assert "starting vLLM" not in other.stderr and rows(tmp_path / "other" / "run" / "round_00") == rows(round_0)
    nowhere = constitute("generate", "run.yaml", "generate.publish_to=file:///proc/nowhere", cwd=world)
    assert nowhere.returncode == 2 and "All rows are whole" in nowhere.stderr and "Traceback" not in nowhere.stderr
