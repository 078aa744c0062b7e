"""Compaction killed at any boundary, over damaged shards, on a full disk: each row is there once and none is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from records.atomic import CRASH_POINTS
from records.compact import compact_round, decided_moves
from records.errors import StageError
from records.features import write_card
from records.rows import Pair
from records.shard import DamagedShardError
from records.store import RowStore, read_rows, shards
from tests.forked import crash_runs
from tests.generator.toy import outcome_of, script
from tests.loop.toy_export import outcomes, write_rows
from tests.records.test_compact import ids, kinds, loaded
from tests.tracked import ROOT

POINTS = [point for point in CRASH_POINTS if point.startswith(("compact-", "parquet-", "lines-", "file-", "row-"))]


@pytest.fixture
def round_folder(tmp_path: Path) -> Path:
    """Ten pairs in four shards, four rejects in two, of every shape."""
    write_rows(tmp_path / "round", outcomes())
    return tmp_path / "round"


CRASHING = """
import json, shutil, sys
from pathlib import Path
import pyarrow.parquet, records.chat
from records.compact import compact_round
from tests.forked import forked
for name, point in json.loads(sys.argv[2]):
    folder = Path(sys.argv[1]) / name
    first, second = json.loads((folder / "moved").read_text())
    forked(name, point, lambda: compact_round(folder, first))
    shutil.copytree(folder, folder.with_name(f"{name}-killed"))
    forked(name, "", lambda: compact_round(folder, second))
"""
CRASHES = [(f"{point}-{nth}", f"{point}:{nth}") for point in POINTS for nth in (1, 3)
           if nth == 1 or not point.startswith(("compact-", "file-"))]  # fmt: skip


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]], str, list[str]]:
    """A round for each entry of CRASHES: compacted and killed, then again with other moves in mind."""
    folder = tmp_path_factory.mktemp("crashes")
    rows = outcomes()
    pairs = [row.id for row in rows if isinstance(row, Pair)]
    for name, _ in CRASHES:
        write_rows(folder / name, rows)
        moves = [{id: ["leaked", "first"] for id in pairs[2:6]}, {id: ["leaked", "second"] for id in pairs[4:9]}]
        (folder / name / "moved").write_text(json.dumps(moves))
    return folder, *crash_runs(CRASHING, folder, CRASHES), pairs


@pytest.mark.parametrize(("name", "point"), CRASHES)
def test_killed_at_any_boundary_the_same_rows_have_moved(
    crashed: tuple[Path, dict[str, list[int]], str, list[str]], name: str, point: str, tmp_path: Path
) -> None:
    folder, codes, errors, pairs = crashed
    assert codes[name] == [-signal.SIGKILL, 0], errors
    # Until the decisions are on disk nothing has moved, and the next call is free to decide otherwise; with the last
    # act of a compaction they are gone again, and that call moves more.
    first, second = pairs[2:6], pairs[4:9]
    gone = {"file-before-rename:1": second, "compact-ended:1": [*first, *second[2:]]}.get(point, first)
    whole = folder / name
    assert sorted(ids(whole / "pairs")) == sorted(id for id in pairs if id not in gone)
    moved = [row for row in read_rows(whole / "rejects") if row["reason"] == "leaked"]
    assert sorted(row["id"] for row in moved) == sorted(gone)
    assert len(ids(whole / "rejects")) == 4 + len(gone)
    assert {*kinds(whole / "pairs"), *kinds(whole / "rejects")} == {".parquet"}
    assert decided_moves(whole) is None and not list(whole.rglob(".part*"))
    # As the kill left it: every reader finds each row of a folder once.
    killed = folder / f"{name}-killed"
    for kind in ("pairs", "rejects"):
        found = ids(killed / kind)
        assert len(found) == len(set(found))
        if point.startswith("row-torn"):  # datasets takes the torn end of a last shard for a broken file
            continue
        shown = [row["id"] for row in loaded(killed / kind, tmp_path / kind, streaming=True)]
        assert len(shown) == len(set(shown)) and {*ids(whole / kind)} - {*second} - {*first} <= {*shown}
    assert {*ids(killed / "pairs"), *ids(killed / "rejects")} == {*ids(whole / "pairs"), *ids(whole / "rejects")}


def test_a_damaged_shard_is_named_and_nothing_is_lost(round_folder: Path) -> None:
    path = shards(round_folder / "pairs")[1]
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"role"', b'"r\xffle"', 1))
    assert len(RowStore(round_folder / "pairs").ids) == 10, "the ids alone can still be told"
    with pytest.raises(DamagedShardError, match=r"part-00001.jsonl: line 1 is not a Pair"):
        compact_round(round_folder)
    path.write_bytes(whole)
    compact_round(round_folder)
    assert len(set(ids(round_folder / "pairs"))) == 10


class Odd(BaseModel):
    id: str
    text: str = ""


def test_a_row_of_another_kind_is_damage(round_folder: Path) -> None:
    store = RowStore(round_folder / "pairs")
    store.append(Odd(id="odd"))
    store.close()
    with pytest.raises(DamagedShardError, match="is not a Pair"):
        compact_round(round_folder)
    assert kinds(round_folder / "pairs")[-1] == ".jsonl"


def test_a_pair_to_move_that_is_none_is_damage_too(round_folder: Path) -> None:
    path = shards(round_folder / "pairs")[0]
    path.write_bytes(path.read_bytes().replace(b'"chosen":', b'"choosen":', 1))
    with pytest.raises(DamagedShardError, match="line 1 is not a Pair"):
        compact_round(round_folder, {ids(round_folder / "pairs")[9]: ("leaked", "")})


def test_decisions_that_cannot_be_read_are_named(round_folder: Path) -> None:
    for text in ("{", "[]", '{"a": 1}'):
        (round_folder / "moved.json").write_text(text)
        with pytest.raises(StageError, match=r"moved.json: not what .* Take the file away"):
            compact_round(round_folder)
    (round_folder / "moved.json").unlink()
    assert compact_round(round_folder) == 0


FULL_DISK = """
import resource, sys
from pathlib import Path
from records.compact import compact_round
from records.errors import StageError
if sys.argv[2] != "0":
    # Files may grow to this size and no further, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    compact_round(Path(sys.argv[1]))
except StageError as error:
    print(error)
"""


def compact_limited(folder: Path, size: int) -> str:
    command = [sys.executable, "-c", FULL_DISK, folder, str(size)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_told_and_safe(told: str, folder: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    assert "the shard could not be written" in told and "its rows are safe" in told
    assert "Make room" in told and "run the same command again" in told
    assert {name: list(read_rows(folder / name)) for name in rows} == rows
    assert not list(folder.rglob("*.parquet.tmp"))


@pytest.mark.parametrize("size", [1, 9_000, 20_000])
def test_a_full_disk_loses_nothing_and_the_next_call_goes_on(round_folder: Path, size: int) -> None:
    rows = {name: list(read_rows(round_folder / name)) for name in ("pairs", "rejects")}
    assert_told_and_safe(compact_limited(round_folder, size), round_folder, rows)
    assert compact_limited(round_folder, 0) == ""
    assert {name: list(read_rows(round_folder / name)) for name in rows} == rows
    assert kinds(round_folder / "pairs") == [".parquet"] * 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 400 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a file system of its own")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    folder, pair = small_disk / "round", outcome_of(script())
    store = RowStore(folder / "pairs")
    write_card(folder / "pairs", Pair)
    with pytest.raises(StageError, match="a row could not be written"):
        for number in range(10_000):
            store.append(pair.model_copy(update={"id": f"r{number}", "prompt_id": os.urandom(1000).hex()}))
    store.close()
    rows = {"pairs": list(read_rows(folder / "pairs"))}
    assert [row["id"] for row in rows["pairs"]] == [f"r{number}" for number in range(len(rows["pairs"]))]
    assert len(rows["pairs"]) > 20
    with pytest.raises(StageError) as full:
        compact_round(folder)
    assert_told_and_safe(str(full.value), folder, rows)
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    compact_round(folder)
    assert list(read_rows(folder / "pairs")) == rows["pairs"] and kinds(folder / "pairs") == [".parquet"]
