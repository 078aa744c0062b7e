"""Rows of several workers come together once each: moved, copied or fetched, and after a kill at any moment."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from records.errors import StageError
from records.row_objects import ObjectRows, list_objects
from records.rows import Pair, Reject
from records.shard import DAMAGED, DamagedShardError, set_aside, shard_ids
from records.store import RowStore, read_rows, shards
from records.worker_rows import LocalRows, collect, open_rows, own_ids
from tests.generator.toy import DRAFT_TEXT, outcome_of, prompt, script


def row(number: int, *, pair: bool = True) -> Pair | Reject:
    outcome = outcome_of(script() if pair else script(draft="Boil it."), prompt(f"How do I boil {number} eggs?"))
    assert isinstance(outcome, Pair if pair else Reject)
    return outcome


def write(rows: object, *many: Pair | Reject) -> None:
    for one in many:
        rows.append(one)  # type: ignore[attr-defined]
    rows.close()  # type: ignore[attr-defined]


def ids(folder: Path) -> list[str]:
    return [found["id"] for kind in ("pairs", "rejects") for found in read_rows(folder / kind)]


def test_closed_shards_are_moved_as_they_are_after_those_of_the_round(tmp_path: Path) -> None:
    first, second, third, fourth = row(0), row(1), row(2, pair=False), row(3)
    store = RowStore(tmp_path / "pairs")
    store.append(first)
    store.close()
    write(open_rows(None, tmp_path, "a"), second, third)
    write(open_rows(None, tmp_path, "b"), fourth)
    inode = shards(tmp_path / "workers" / "a" / "pairs")[0].stat().st_ino
    assert collect(tmp_path, closed={"a", "b"}).duplicates == 0
    assert ids(tmp_path) == [first.id, second.id, fourth.id, third.id]
    assert inode in {shard.stat().st_ino for shard in shards(tmp_path / "pairs")}, "moved, not written again"
    assert not (tmp_path / "workers").exists()
    # The round's folder is one store again.
    last = row(9)
    again = RowStore(tmp_path / "pairs")
    again.append(last)
    again.close()
    assert ids(tmp_path)[3] == last.id


def test_rows_of_a_worker_that_did_not_close_are_copied_without_its_torn_end(tmp_path: Path) -> None:
    first, second = row(0), row(1)
    dead = LocalRows(tmp_path / "workers" / "dead")
    for one in (first, second):
        dead.append(one)
    shard = shards(tmp_path / "workers" / "dead" / "pairs")[0]
    with open(shard, "ab") as file:
        file.write(b'{"schema_version":1,"id":"to')
    assert own_ids(tmp_path, "dead") == {first.id, second.id}
    inode = shard.stat().st_ino
    assert collect(tmp_path).duplicates == 0
    assert ids(tmp_path) == [first.id, second.id]
    assert inode not in {shard.stat().st_ino for shard in shards(tmp_path / "pairs")}
    dead.append(row(2))  # it was only thought dead: what it goes on to write reaches nothing
    assert ids(tmp_path) == [first.id, second.id]


def test_a_chain_done_twice_stays_once_even_as_another_kind_of_row(tmp_path: Path) -> None:
    as_pair, as_reject, other = row(0), row(0, pair=False), row(1)
    assert as_pair.id == as_reject.id
    write(open_rows(None, tmp_path, "a"), as_pair)
    write(open_rows(None, tmp_path, "b"), as_reject, other)
    assert collect(tmp_path, closed={"a", "b"}).duplicates == 1
    assert sorted(ids(tmp_path)) == sorted([as_pair.id, other.id])
    write(open_rows(None, tmp_path, "c"), other)
    assert collect(tmp_path, closed={"c"}).duplicates == 1
    assert len(ids(tmp_path)) == 2


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_collection_that_was_cut_short_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    rows = [row(number, pair=number != 2) for number in range(3)]
    for number, one in enumerate(rows):
        write(open_rows(None, tmp_path, f"w{number}"), one)
    rename, calls = os.rename, []

    def dying(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) > moved:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", dying)
    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path, closed={"w0", "w1", "w2"})
    monkeypatch.undo()
    assert len(ids(tmp_path)) == moved
    collect(tmp_path)
    assert sorted(ids(tmp_path)) == sorted(one.id for one in rows)


def test_objects_behind_a_url_are_written_once_fetched_and_removed(tmp_path: Path) -> None:
    folder, url = tmp_path / "run" / "round_00", f"file://{tmp_path}/store"
    rows = [row(0), row(1, pair=False), row(2)]
    a, b = open_rows(url, folder, "a"), open_rows(url, folder, "b")
    a.append(rows[0])
    assert a.settle(all=False) == [], "one object for many rows"
    a.append(rows[1])
    assert a.settle(all=True) == [rows[0].id, rows[1].id]
    assert a.settle(all=True) == []
    write(b, rows[1], rows[2])
    assert [place.rpartition("/store/")[2] for place in list_objects(url)] == ["a-00000.jsonl", "b-00000.jsonl"]
    assert collect(folder, url).duplicates == 1
    assert sorted(ids(folder)) == sorted(one.id for one in rows)
    assert list_objects(url) == []
    assert collect(folder, url).duplicates == 0


def test_an_object_is_due_by_size_and_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ObjectRows(f"file://{tmp_path}/store", "a")
    rows.append(row(0))
    monkeypatch.setattr("records.row_objects.OBJECT_BYTES", 100)
    assert len(rows.settle(all=False)) == 1
    monkeypatch.undo()
    rows.append(row(1))
    assert rows.settle(all=False) == []
    monkeypatch.setattr("records.row_objects.OBJECT_SECONDS", 0.0)
    assert len(rows.settle(all=False)) == 1


def test_a_row_is_never_reported_before_the_object_that_holds_it_is_written(tmp_path: Path) -> None:
    """A worker settles in a thread, since a store may take seconds, and goes on appending meanwhile."""
    url, made = f"file://{tmp_path}/store", [row(number) for number in range(300)]
    rows = ObjectRows(url, "a")
    reported: list[list[str]] = []
    over = threading.Event()

    def settle() -> None:
        while not over.is_set():
            if ids := rows.settle(all=True):
                reported.append(ids)

    thread = threading.Thread(target=settle)
    before, _ = sys.getswitchinterval(), sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for one in made:
            rows.append(one)
        over.set()
        thread.join()
    finally:
        sys.setswitchinterval(before)
    reported.append(rows.settle(all=True))
    written = [list(shard_ids(path)) for path in sorted((tmp_path / "store").iterdir())]
    assert written == [ids for ids in reported if ids]
    assert [id for ids in written for id in ids] == [one.id for one in made]


def test_a_store_that_cannot_be_reached_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    rows = ObjectRows(f"file://{tmp_path}/file/inside", "a")
    rows.append(row(0))
    with pytest.raises(StageError, match=r"inside/a-00000\.jsonl: could not be written .*scale\.rows"):
        rows.settle(all=True)
    with pytest.raises(StageError, match="nosuchkind://x: could not be listed"):
        collect(tmp_path / "run" / "round_00", "nosuchkind://x")


def test_texts_that_no_utf_8_holds_survive_an_object(tmp_path: Path) -> None:
    folder, url = tmp_path / "run" / "round_00", f"file://{tmp_path}/store"
    broken = outcome_of(script(draft=DRAFT_TEXT), prompt("say \ud800\u2028"))
    write(open_rows(url, folder, "a"), broken)
    assert collect(folder, url).duplicates == 0
    found = [*read_rows(folder / "pairs"), *read_rows(folder / "rejects")]
    assert found[0]["prompt"][0]["content"] == "say \ud800\u2028"


def test_a_damaged_shard_is_named_and_all_other_rows_are_there_by_then(tmp_path: Path) -> None:
    rows = [row(number) for number in range(4)]
    write(open_rows(None, tmp_path, "bad"), rows[0], rows[1])
    write(open_rows(None, tmp_path, "good"), rows[2])
    write(open_rows(None, tmp_path, "closed"), rows[3])
    shard = tmp_path / "workers" / "bad" / "pairs" / "part-00000.jsonl"
    first, second = shard.read_text().splitlines(keepends=True)
    shard.write_text(first + second.replace('"chosen":', '"taken":') + second)
    assert own_ids(tmp_path, "bad") == set(), "rows beside damaged bytes deserve no trust"
    with pytest.raises(DamagedShardError, match="row 2 has not the columns of one") as caught:
        collect(tmp_path, closed={"closed"})
    assert sorted(ids(tmp_path)) == sorted([rows[2].id, rows[3].id])
    set_aside(caught.value, tmp_path / "pairs" / DAMAGED)
    assert collect(tmp_path).rows == 0
    assert (tmp_path / "pairs" / DAMAGED / "part-00000.jsonl-1").exists() and not (tmp_path / "workers").exists()


@pytest.mark.parametrize("cut", [10, 3000, -1])
def test_a_damaged_object_comes_here_before_it_is_named(tmp_path: Path, cut: int) -> None:
    folder, url = tmp_path / "run" / "round_00", f"file://{tmp_path}/store"
    write(open_rows(url, folder, "a"), row(0), row(1))
    write(open_rows(url, folder, "b"), row(2, pair=False))
    place = tmp_path / "store" / "a-00000.jsonl"
    place.write_bytes(place.read_bytes()[: cut - 1])
    with pytest.raises(DamagedShardError, match=r"part-object-a-00000\.jsonl: line \d is not a row"):
        collect(folder, url)
    assert ids(folder) == [row(2, pair=False).id] and list_objects(url) == []
    with pytest.raises(DamagedShardError) as caught:
        collect(folder)
    set_aside(caught.value, folder / "pairs" / DAMAGED)
    assert collect(folder) == (0, 0) and not (folder / "workers").exists()
