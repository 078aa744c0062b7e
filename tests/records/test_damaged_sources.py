"""Files and databases that are damaged or odd inside: a bad row where it is one row, else an error in words."""

from __future__ import annotations

import datetime
import gzip
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from records.errors import DataError
from records.sources.cells import json_text
from records.sources.import_pairs import import_pairs
from records.sources.origin import Origin
from records.sources.readers import Unreadable, read_origin
from records.splits import SplitShares

ALL_TRAIN = SplitShares(validation=0, test=0)
GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}


def rows(**place: Any) -> list[Any]:
    return [found.row for found in read_origin(Origin(**place))]


def test_bad_cells_of_a_parquet_file_spoil_their_rows_alone(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    offsets = pyarrow.py_buffer(struct.pack("<3i", 0, 2, 4))
    torn = pyarrow.StringArray.from_buffers(2, offsets, pyarrow.py_buffer(b"ab\xff\xfe"))
    late = pyarrow.array([1, 2**62], type=pyarrow.timestamp("us"))
    for name, column in (("text", torn), ("date", late)):
        write_table(pyarrow.table({"prompt": ["p", "q"], "chosen": column}), tmp_path / f"{name}.parquet")
        first, second = rows(path=str(tmp_path / f"{name}.parquet"))
        assert first["prompt"] == "p"
        assert isinstance(second, Unreadable) and "cannot be read" in second.reason


def damaged_gzip(folder: Path) -> Path:
    lines = "".join(json.dumps(GOOD | {"n": f"{number} {number**7}"}) + "\n" for number in range(3000))
    packed = bytearray(gzip.compress(lines.encode()))
    for place in range(len(packed) // 2, len(packed) // 2 + 50):
        packed[place] ^= 0xFF
    (folder / "a.jsonl.gz").write_bytes(packed)
    return folder / "a.jsonl.gz"


def torn_list_of_splits(folder: Path) -> Path:
    (folder / "set").mkdir()
    (folder / "set" / "dataset_dict.json").write_text("{torn")
    return folder / "set"


def set_without_data(folder: Path) -> Path:
    (folder / "set").mkdir()
    (folder / "set" / "state.json").write_text("{}")
    return folder / "set"


def cut_arrow_file(folder: Path) -> Path:
    from datasets import Dataset

    Dataset.from_list([GOOD] * 5).save_to_disk(str(folder / "set"))
    (arrow,) = (folder / "set").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[: arrow.stat().st_size // 3])
    return folder / "set"


@pytest.mark.parametrize("damage", [damaged_gzip, torn_list_of_splits, set_without_data, cut_arrow_file])
def test_what_is_damaged_as_a_whole_is_told(damage: Any, tmp_path: Path) -> None:
    path = damage(tmp_path)
    with pytest.raises(DataError, match="cannot be read") as caught:
        rows(path=str(path), split="train" if (path / "dataset_dict.json").exists() else None)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("line", [b'{"prompt": "\xff"}', b"[" * 100_000], ids=["bytes", "nested"])
def test_a_damaged_row_of_own_shards_is_told(line: bytes, tmp_path: Path) -> None:
    own = json.dumps(GOOD | {"id": "1", "provenance": {}}).encode()
    (tmp_path / "part-00000.jsonl").write_bytes(own + b"\n" + line + b"\n")
    try:
        found = rows(path=str(tmp_path))
    except DataError as error:
        assert str(tmp_path) in str(error)
    else:
        assert [isinstance(row, Unreadable) for row in found] == [False, True]


def test_dates_and_odd_keys_of_a_database_are_kept_as_text(tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute("create table t as select 'p' as prompt, map {date '2024-01-01': 1} as odd")
        connection.execute("create table g as select 'a b c' as prompt, 'x' as chosen, 'y' as rejected, 7 as thread")
    connect = str(tmp_path / "a.duckdb")
    source = Origin(sql={"connect": connect, "query": "select * from t union all select * from t"})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no_column: 2"):
        import_pairs(source, tmp_path / "out", ALL_TRAIN)
    assert json_text({datetime.date(2024, 1, 1): [float("inf"), {1: b"x"}]}) == (
        '{"2024-01-01": [Infinity, {"1": "b\'x\'"}]}'
    )
    assert "nested" in json_text(deep())
    source = Origin(sql={"connect": connect, "query": 'select *, thread as "group" from g'})  # type: ignore[arg-type]
    assert import_pairs(source, tmp_path / "out", ALL_TRAIN).pairs.total() == 1


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(10_000):
        nested = [nested]
    return nested


def test_a_closed_database_is_closed_in_every_setting(tmp_path: Path) -> None:
    import duckdb

    from records.sources.sql import _CLOSED

    duckdb.connect(str(tmp_path / "a.duckdb")).close()
    names = [
        "enable_external_access",
        "autoinstall_known_extensions",
        "autoload_known_extensions",
        "python_enable_replacements",
        "lock_configuration",
    ]
    assert set(names) == _CLOSED.keys()
    query = "select " + ", ".join(f"current_setting('{name}') as {name}" for name in names)
    (found,) = rows(sql={"connect": str(tmp_path / "a.duckdb"), "query": query})
    assert [str(found[name]).lower() for name in names] == ["false", "false", "false", "false", "true"]


def test_a_hub_id_is_never_a_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "owner" / "name" / "a.jsonl").write_text(json.dumps(GOOD) + "\n")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the client was asked"))
    with pytest.raises(DataError, match="the hub's client would read it in the hub's place"):
        rows(hub="owner/name")
    for wrong in ("/etc", "../x", "owner/name/more", "./a"):
        with pytest.raises(ValueError, match="expected OWNER/NAME"):
            Origin(hub=wrong)
