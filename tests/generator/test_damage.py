"""A damaged shard is named, set aside and kept, and what it held is made anew, in whatever state it is found."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generator.generate import generate_pairs
from records.compact import compact_round, decided_moves
from records.errors import StageError
from records.progress import Progress
from records.shard import DamagedShardError, check_shards
from records.store import RowStore, read_rows, shards
from tests.generator.test_generate import PROMPTS, expect_each_once, generate, mixed, rows
from tests.generator.toy import method_of, script
from tests.tracked import ROOT


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def place_of_texts(data: bytes) -> int:
    """Where the texts of the trail lie in a Parquet shard; few rows have a longer index and statistics than data."""
    from pyarrow.parquet import ParquetFile

    group = ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    (texts,) = (column for column in columns if column.path_in_schema == "trail.list.element.text")
    return (texts.dictionary_page_offset + texts.data_page_offset) // 2


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "bytes in the middle": lambda data: data[: len(data) // 2] + b"\xff\x00\xfe" * 20 + data[len(data) // 2 + 60 :],
    "cut short": lambda data: data[: len(data) // 3],
    "zeros": lambda data: data[:100] + bytes(len(data) - 100),
    "a bit in the middle": lambda data: flipped(data, place_of_texts(data)),
    "emptied": lambda data: b"",
}


def resume(folder: Path, answer: Any = None) -> tuple[dict[str, Any], list[str], str]:
    """Generate once more; the figures, the prompts that were drafted for, and what the screen shows."""
    drafted: list[str] = []
    play = answer or script(draft=mixed)

    def counted(text: str, call: Any) -> Any:
        if call.stage == 0:
            drafted.append(text)
        return play(text, call)

    stream = io.StringIO()
    display = Progress("test", len(PROMPTS), stream)
    figures = asyncio.run(generate_pairs(PROMPTS, method_of(counted), folder, in_flight=4, display=display))
    assert display.done == len(PROMPTS)
    return figures, drafted, stream.getvalue()


def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RowStore.__init__.__kwdefaults__, "rows_per_shard", 4)


def lines_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generation whose rows are not compacted yet."""
    monkeypatch.setattr("generator.generate.compact_round", lambda folder, moved: 0)
    generate(folder)
    monkeypatch.undo()
    small_shards(monkeypatch)


@pytest.mark.parametrize("kind", ["pairs", "rejects"])
@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("compacted", [False, True])
def test_a_damaged_shard_is_set_aside_and_its_prompts_are_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compacted: bool, name: str, kind: str
) -> None:
    if not compacted and name == "a bit in the middle":
        return  # a letter for another in a line of JSON: a row like any other, and no checksum to say it is not
    small_shards(monkeypatch)
    generate(tmp_path) if compacted else lines_of(tmp_path, monkeypatch)
    before = {row["id"]: row for row in rows(tmp_path)}
    path = shards(tmp_path / kind)[1]
    held = {row["id"] for row in list(read_rows(tmp_path / kind))[4:8]}
    bad = DAMAGE[name](path.read_bytes())
    path.write_bytes(bad)
    figures, drafted, told = resume(tmp_path)
    expect_each_once(tmp_path)
    assert len(drafted) == len(held) == 4
    after = {row["id"]: row for row in rows(tmp_path)}
    assert {id: row for id, row in after.items() if id not in held} == {
        id: row for id, row in before.items() if id not in held
    }
    (kept,) = (tmp_path / kind / "damaged").glob("part-*")
    assert kept.name == f"{path.name}-1" and kept.read_bytes() == bad
    assert f"{path}: " in told and f"set aside as damaged/{kept.name}; its prompts are done again" in told
    assert (tmp_path / kind / "damaged" / "why.txt").read_text().startswith(f"{path}: ")
    assert figures["damaged_shards"] == 1
    assert {path.suffix for name in ("pairs", "rejects") for path in shards(tmp_path / name)} == {".parquet"}
    again, drafted, told = resume(tmp_path)
    assert (again["damaged_shards"], drafted, told.count("damaged")) == (1, [], 0)


def test_no_flipped_bit_of_a_compacted_shard_goes_unnoticed(tmp_path: Path) -> None:
    generate(tmp_path)
    (path,) = shards(tmp_path / "pairs")
    whole, before = path.read_bytes(), list(read_rows(tmp_path / "pairs"))
    damaged = 0
    # The file's own index at the end has no checksum of Parquet's.
    for place in [*range(0, len(whole), len(whole) // 60), *range(len(whole) - 12_000, len(whole), 199)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            assert list(read_rows(tmp_path / "pairs")) == before, f"byte {place} of {len(whole)}"
        except DamagedShardError:
            damaged += 1
        else:
            check_shards(tmp_path / "pairs")
    assert damaged > 50


def test_several_shards_of_one_name_are_all_kept(tmp_path: Path) -> None:
    generate(tmp_path)
    for number in (1, 2):
        for kind in ("pairs", "rejects"):
            shards(tmp_path / kind)[0].write_bytes(b"not Parquet")
        figures, drafted, told = resume(tmp_path)
        assert len(drafted) == 25 and told.count("set aside") == 2
        assert figures["damaged_shards"] == 2 * number
    expect_each_once(tmp_path)
    assert len((tmp_path / "pairs" / "damaged" / "why.txt").read_text().splitlines()) == 2


def test_a_shard_that_was_compacted_but_for_its_lines_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the lines went, then the Parquet is damaged: the lines still hold all."""
    lines_of(tmp_path, monkeypatch)
    before = rows(tmp_path)
    lines = {path: path.read_bytes() for path in shards(tmp_path / "pairs")}
    compact_round(tmp_path)
    for path, data in lines.items():
        path.write_bytes(data)
    shards(tmp_path / "pairs")[0].write_bytes(b"PAR1")
    figures, drafted, _ = resume(tmp_path)
    assert drafted == [] and figures["damaged_shards"] == 1
    assert rows(tmp_path) == before


def test_rows_made_anew_are_not_moved_by_what_was_decided_about_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    lines_of(tmp_path, monkeypatch)
    pairs = [row["id"] for row in read_rows(tmp_path / "pairs")]
    (tmp_path / "moved.json").write_text(json.dumps({id: ["leaked", "x"] for id in pairs[:8]}))
    assert set(decided_moves(tmp_path) or ()) == {*pairs[:8]}
    shards(tmp_path / "pairs")[0].write_bytes(b"\n")
    figures, drafted, _ = resume(tmp_path)
    assert len(drafted) == 4 and decided_moves(tmp_path) is None
    assert figures["rejects"] == {"complies": 9}


def test_a_folder_that_cannot_take_the_shard_aside_is_told(tmp_path: Path) -> None:
    generate(tmp_path)
    path = shards(tmp_path / "pairs")[0]
    path.write_bytes(b"not Parquet")
    (tmp_path / "pairs" / "damaged").write_text("a file in its way")
    with pytest.raises(StageError, match=r"part-00000.parquet: it cannot be read .* could not be set aside"):
        resume(tmp_path)
    assert path.read_bytes() == b"not Parquet"


def test_too_many_open_files_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(tmp_path)

    def refused(*_: Any, **__: Any) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("pyarrow.parquet.ParquetFile", refused)
    with pytest.raises(OSError, match="Too many"):
        list(read_rows(tmp_path / "pairs"))


KILLED = """
import os, sys
from pathlib import Path
from tests.generator.test_damage import resume
os.environ["CONSTITUTE_CRASH_AT"] = "shard-set-aside"
resume(Path(sys.argv[1]))
"""


def test_killed_as_the_shard_is_set_aside_the_same_call_completes(tmp_path: Path) -> None:
    generate(tmp_path)
    shards(tmp_path / "pairs")[0].write_bytes(b"not Parquet")
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT, env={**os.environ}, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not shards(tmp_path / "pairs")
    figures, drafted, _ = resume(tmp_path)
    assert (figures["damaged_shards"], len(drafted)) == (1, 16)
    expect_each_once(tmp_path)
