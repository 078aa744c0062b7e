"""SQLite databases: one SELECT, read-only, and bytes that are no text spoil their own row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from records.errors import DataError
from records.sources.import_pairs import import_pairs
from records.sources.origin import Origin
from records.sources.readers import Unreadable, read_origin
from records.splits import SplitShares
from records.store import read_rows


def database(folder: Path) -> str:
    path = folder / "some.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table votes (prompt, good, bad, thread integer)")
        turns = '[{"role": "assistant", "content": "a\\n\\nb: c"}]'
        connection.execute("insert into votes values ('why?', ?, 'worse', 7)", [turns])
        connection.execute("insert into votes values ('how?', cast(x'ff' as text), 'worse', 8)")
        connection.commit()
    return str(path)


def rows(path: str, query: str) -> list[Any]:
    return [found.row for found in read_origin(Origin(sql={"connect": path, "query": query}))]  # type: ignore[arg-type]


def test_its_rows_become_pairs(tmp_path: Path) -> None:
    query = 'select prompt, good as chosen, bad as rejected, thread as "group" from votes order by thread'
    path = database(tmp_path)
    before = Path(path).read_bytes()
    first, second = rows(path, query)
    assert (first["prompt"], first["group"]) == ("why?", 7)
    assert isinstance(second, Unreadable)
    source = Origin(sql={"connect": path, "query": query})  # type: ignore[arg-type]
    counts = import_pairs(source, tmp_path / "out", SplitShares(validation=0, test=0))
    assert counts.faults == {"unreadable": 1}
    (pair,) = read_rows(tmp_path / "out")
    assert (pair["chosen"][0]["content"], pair["group"]) == ("a\n\nb: c", "7")
    assert Path(path).read_bytes() == before


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("insert into votes values (1, 2, 3, 4)", "not authorized"),
        ("delete from votes returning prompt", "not authorized"),
        ("select 1; drop table votes", "one statement at a time"),
        ("attach 'other.db' as other", "not authorized"),
        ("vacuum into 'copy.db'", "authoriz"),
        ("pragma journal_mode = wal", "not authorized"),
        ("select load_extension('x')", "not authorized"),
        ("-- a comment", "found no SELECT"),
        ("select prompt, prompt from votes", "expected each name once"),
        ("selec", "syntax error"),
    ],
)
def test_a_query_only_reads_and_reaches_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = database(tmp_path)
    before = Path(path).read_bytes()
    with pytest.raises(DataError, match=words):
        rows(path, query)
    assert Path(path).read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["some.db"]
