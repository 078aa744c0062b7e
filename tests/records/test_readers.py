"""Every kind of source gives the same rows, and what cannot be read is named with its place."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from records.errors import DataError
from records.sources.origin import Origin
from records.sources.readers import Unreadable, read_origin

ROWS = [{"prompt": "a\n\nb: c", "group": "g"}, {"prompt": "x" * 1_000_000, "group": "\x00{{ n }}<|im_end|>"}]


def rows(**place: Any) -> list[Any]:
    return [found.row for found in read_origin(Origin(**place))]


def write_each_kind(folder: Path) -> list[Path]:
    import pyarrow
    from datasets import Dataset, DatasetDict
    from pyarrow.parquet import write_table

    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    (folder / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + lines)
    (folder / "list.json").write_text(json.dumps(ROWS, indent=1))
    (folder / "lines.json").write_bytes(lines)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    with open(folder / "a.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["prompt", "group"])
        writer.writeheader()
        writer.writerows(ROWS)
    write_table(pyarrow.Table.from_pylist(ROWS), folder / "a.parquet")
    Dataset.from_list(ROWS).save_to_disk(str(folder / "saved"))
    DatasetDict({"train": Dataset.from_list(ROWS)}).save_to_disk(str(folder / "splits"))
    (folder / "files" / "deeper").mkdir(parents=True)
    (folder / "files" / "deeper" / "a.jsonl").write_bytes(lines)
    return [path for path in sorted(folder.iterdir()) if path.name != "splits"]


def test_every_kind_gives_the_same_rows(tmp_path: Path) -> None:
    paths = write_each_kind(tmp_path)
    assert len(paths) == 8
    for path in paths:
        assert rows(path=str(path)) == ROWS, path
    assert rows(path=str(tmp_path / "splits"), split="train") == ROWS
    with pytest.raises(DataError, match="found no split; expected split: one of train"):
        rows(path=str(tmp_path / "splits"))


def test_a_bad_row_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{torn\n{"a": "\xff"}\n' + b"[" * 100_000 + b'\n{"a": NaN}\n{"a": "\\ud800"}\n')
    found = list(read_origin(Origin(path=str(path))))
    assert [one.number for one in found] == [1, 3, 4, 5, 6, 7]
    assert [isinstance(one.row, Unreadable) for one in found] == [False, True, True, True, False, False]
    assert found[1].where == f"{path}, line 3"
    assert found[-1].row == {"a": "\ud800"}
    table = tmp_path / "a.csv"
    table.write_bytes(b'a,b\n1,"2\n\n3"\n4\n5,\xff\n6,7\n')
    found = list(read_origin(Origin(path=str(table))))
    assert [one.row for one in found if not isinstance(one.row, Unreadable)] == [
        {"a": "1", "b": "2\n\n3"},
        {"a": "6", "b": "7"},
    ]
    assert [one.where for one in found if isinstance(one.row, Unreadable)] == [f"{table}, row 2", f"{table}, row 3"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"hello", "found a .txt file; expected .jsonl, .json, .csv, .parquet"),
        ("a.json", b"[1, 2", "not JSON"),
        ("a.json", b"hello", "not JSON"),
        ("a.csv", b'a,b\n1,"2\n', "not CSV near line"),
        ("a.csv", b"a,a\n1,2\n", "found a column name twice"),
        ("a.parquet", b"PAR1", "not a Parquet file"),
        ("a.jsonl.gz", b"not gzip", "cannot be read"),
        ("nosuch/x.jsonl", None, "no such file"),
        ("folder/a.txt", b"", "the folder holds no .jsonl"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_named(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    place = path.parent if name.startswith("folder") else path
    with pytest.raises(DataError, match=words) as caught:
        rows(path=str(place))
    assert str(place) in str(caught.value)


def database(folder: Path) -> str:
    import duckdb

    path = str(folder / "some.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("create table asked(prompt varchar, doc integer)")
        connection.executemany("insert into asked values (?, ?)", [["a\n\nb: c", 1], ["d", 2]])
    return path


def test_a_database_is_read_by_a_query(tmp_path: Path) -> None:
    sql = {"connect": database(tmp_path), "query": "select prompt, doc as group from asked order by doc"}
    assert rows(sql=sql) == [{"prompt": "a\n\nb: c", "group": 1}, {"prompt": "d", "group": 2}]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("insert into asked values ('x', 3)", "found INSERT; expected one SELECT"),
        ("delete from asked", "found DELETE"),
        ("update asked set doc = 1 returning prompt", "found UPDATE"),
        ("select 1; drop table asked", "found SELECT, DROP"),
        ("attach 'other.duckdb'", "found ATTACH"),
        ("copy asked to 'out.csv'", "found COPY"),
        ("install httpfs", "expected one SELECT"),
        ("-- a comment", "found nothing"),
        ("select * from 'beside.csv'", "file system operations are disabled"),
        ("select * from read_text('beside.csv')", "file system operations are disabled"),
        ("select * from ROWS", "does not exist"),
        ("select nosuch from asked", "nosuch"),
        ("select prompt, prompt from asked", "expected each name once"),
        ("selec", "syntax error"),
    ],
)
def test_a_query_only_reads_and_reaches_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = database(tmp_path)
    before = Path(path).read_bytes()
    (tmp_path / "beside.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=words):
        rows(sql={"connect": path, "query": query})
    assert Path(path).read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["beside.csv", "some.duckdb"]


def test_a_database_that_another_program_left_unfinished_is_not_touched(tmp_path: Path) -> None:
    """Opened for writing, DuckDB would fold the log of the last writer into the file."""
    import duckdb

    writer = duckdb.connect(str(tmp_path / "live.duckdb"))
    writer.execute("create table asked as select 'a' as prompt")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["live.duckdb", "live.duckdb.wal"]
    left = tmp_path / "left"
    left.mkdir()
    before = {name: (tmp_path / name).read_bytes() for name in names}
    for name, content in before.items():
        (left / name).write_bytes(content)
    writer.close()
    assert rows(sql={"connect": str(left / "live.duckdb"), "query": "select * from asked"}) == [{"prompt": "a"}]
    assert {path.name: path.read_bytes() for path in left.iterdir()} == before


def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.duckdb").write_text("no database at all, but some text that is long enough to be read")
    for name, words in (("nosuch.duckdb", "no such database file"), ("text.duckdb", "the database refuses it")):
        with pytest.raises(DataError, match=words):
            rows(sql={"connect": str(tmp_path / name), "query": "select 1"})


def test_a_hub_id_gives_its_rows_or_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load(*names: Any, **more: Any) -> Any:
        asked.append((names, more))
        if names[0] == "owner/gone":
            raise ConnectionError("Couldn't reach the hub\nlong story")
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert rows(hub="owner/name", subset="all", split="test", revision="abc") == ROWS
    assert asked == [(("owner/name", "all"), {"split": "test", "revision": "abc"})]
    with pytest.raises(DataError, match=r"hub:owner/gone: .*Couldn't reach the hub\); expected a network, or a copy"):
        rows(hub="owner/gone")


def test_an_origin_is_one_place_with_keys_that_fit() -> None:
    for wrong, words in (
        ({}, "expected one of path, hub or sql"),
        ({"path": "a", "hub": "b"}, "expected one of path, hub or sql"),
        ({"path": "a", "revision": "b"}, "revision without hub"),
        ({"sql": {"connect": "a", "query": "b"}, "split": "x"}, "found split"),
        ({"path": "a", "preset": "nosuch"}, "found no preset 'nosuch'; expected one of hh-rlhf"),
    ):
        with pytest.raises(ValueError, match=words):
            Origin(**wrong)
