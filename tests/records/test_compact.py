"""Rows as Parquet: the same rows for every reader, and pairs that a filter turned down as rejects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from records.compact import compact_round, rejected
from records.features import arrow_schema
from records.rows import Pair, Reject
from records.store import RowStore, read_rows, shards
from tests.generator.toy import outcome_of, script
from tests.loop.toy_export import LONE, outcomes, talk, write_rows

HOSTILE = "null \x00, emoji \U0001f9d1\u200d\U0001f680, \u202eright to left\u202c, <|im_end|>, }} {{ \\ \r\n\u2028 end"


@pytest.fixture
def round_folder(tmp_path: Path) -> Path:
    """Ten pairs in four shards, four rejects in two, of every shape."""
    write_rows(tmp_path / "round", outcomes())
    return tmp_path / "round"


def ids(folder: Path) -> list[str]:
    return [row["id"] for row in read_rows(folder)]


def kinds(folder: Path) -> list[str]:
    """The endings of all shards that lie there, those that another stands for too."""
    return [path.suffix for path in sorted(folder.glob("part-*"))]


def loaded(folder: Path, cache: Path, **how: Any) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(str(folder), split="train", cache_dir=str(cache), **how)


def test_the_rows_are_the_same_in_the_same_order(round_folder: Path) -> None:
    before = {name: list(read_rows(round_folder / name)) for name in ("pairs", "rejects")}
    assert compact_round(round_folder) == 0
    assert kinds(round_folder / "pairs") == [".parquet"] * 4 and kinds(round_folder / "rejects") == [".parquet"] * 2
    assert {name: list(read_rows(round_folder / name)) for name in before} == before
    assert [path.name for path in shards(round_folder / "pairs")] == [f"part-0000{n}.parquet" for n in range(4)]
    assert RowStore(round_folder / "pairs").ids == {row["id"] for row in before["pairs"]}
    assert compact_round(round_folder) == 0
    assert {name: list(read_rows(round_folder / name)) for name in before} == before
    assert not (round_folder / "moved.json").exists()


@pytest.mark.parametrize(
    "text",
    [HOSTILE, "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627", "\U0001f1fa\U0001f1f3" * 50, "\x00" * 9],
)
def test_any_text_comes_back_to_the_letter_from_every_reader(tmp_path: Path, text: str) -> None:
    pair = outcome_of(script(draft=f"Boil it, fool, and surely kick the cat.{text}"), talk(f"a{text}b"))
    asked = pair.model_copy(update={"trail": tuple(one.model_copy(update={"text": text}) for one in pair.trail)})
    assert isinstance(asked, Pair)
    write_rows(tmp_path, [asked])
    compact_round(tmp_path)
    assert [Pair.model_validate(row) for row in read_rows(tmp_path / "pairs")] == [asked]
    for how in ({}, {"streaming": True}):
        (row,) = loaded(tmp_path / "pairs", tmp_path / "cache", **how)
        assert Pair.model_validate(row) == asked


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["pairs", "rejects"])
def test_datasets_reads_both_states_alike(round_folder: Path, tmp_path: Path, name: str, streaming: bool) -> None:
    folder, model = round_folder / name, Pair if name == "pairs" else Reject
    before = loaded(folder, tmp_path / "lines", streaming=streaming)
    rows = list(before)
    compact_round(round_folder)
    after = loaded(folder, tmp_path / "parquet", streaming=streaming)
    assert list(after) == rows == list(read_rows(folder))
    assert after.features == before.features
    assert list(after.features) == list(model.model_fields)


def test_a_column_without_any_value_keeps_its_type(tmp_path: Path) -> None:
    from pyarrow.parquet import ParquetFile

    bare = Reject.model_validate(
        {**outcome_of(script("Good.")).model_dump(), "draft": None, "trail": (), "severity": None}
    )
    write_rows(tmp_path, [bare])
    compact_round(tmp_path)
    (path,) = shards(tmp_path / "rejects")
    assert ParquetFile(path).schema_arrow.remove_metadata().equals(_as_parquet_names(arrow_schema(Reject)))
    found = loaded(tmp_path / "rejects", tmp_path / "cache")
    assert str(found.features["severity"]) == "Value('int64')"
    assert found.features["draft"]["token_ids"].feature.dtype == "int64"


def _as_parquet_names(schema: Any) -> Any:
    """The schema as Parquet gives it back, which calls what is in a list `element`."""
    import pyarrow

    with pyarrow.BufferOutputStream() as stream:
        from pyarrow.parquet import ParquetFile, write_table

        write_table(schema.empty_table(), stream)
        return ParquetFile(pyarrow.BufferReader(stream.getvalue())).schema_arrow.remove_metadata()


def test_rows_from_before_a_column_was_added_have_its_default(round_folder: Path) -> None:
    (path, *_) = shards(round_folder / "pairs")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "later_turns"}) + "\n" for row in rows))
    compact_round(round_folder)
    assert list(read_rows(round_folder / "pairs"))[: len(rows)] == rows
    assert all(row["later_turns"] == [] for row in rows)


def test_a_lone_surrogate_is_mended_and_counted(tmp_path: Path) -> None:
    write_rows(tmp_path, [outcome_of(script(), talk(LONE)), outcome_of(script(), talk("Whole?"))])
    assert compact_round(tmp_path) == 1
    assert [row["prompt"][0]["content"] for row in read_rows(tmp_path / "pairs")] == ["lone \ufffd here", "Whole?"]


def test_row_groups_are_small_enough_to_stream(tmp_path: Path) -> None:
    from pyarrow.parquet import ParquetFile

    pair = outcome_of(script())
    for count, length, most in ((2300, 1, 1000), (30, 1_000_000, 9)):
        rows = [pair.model_copy(update={"id": f"{n}", "prompt": talk(f"{n}" * length).messages}) for n in range(count)]
        folder = tmp_path / str(count)
        store = RowStore(folder / "pairs")
        for row in rows:
            store.append(row)
        store.close()
        compact_round(folder)
        (path,) = shards(folder / "pairs")
        metadata = ParquetFile(path).metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        assert sum(sizes) == count and max(sizes) <= most and min(sizes[:-1]) >= most // 2, sizes
        assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_what_is_appended_later_is_read_and_then_compacted_too(round_folder: Path, tmp_path: Path) -> None:
    compact_round(round_folder)
    before = ids(round_folder / "pairs")
    store = RowStore(round_folder / "pairs")
    store.append(outcome_of(script(), talk("Later?")))
    store.close()
    added = [id for id in ids(round_folder / "pairs") if id not in before]
    assert kinds(round_folder / "pairs") == [".parquet"] * 4 + [".jsonl"]
    assert ids(round_folder / "pairs") == before + added and len(added) == 1
    with open(shards(round_folder / "pairs")[-1], "ab") as file:
        file.write(b'{"id": "torn')
    assert RowStore(round_folder / "pairs").ids == {*before, *added}
    # Until the stage ends, datasets sees what is compacted.
    for how in ({}, {"streaming": True}):
        assert [row["id"] for row in loaded(round_folder / "pairs", tmp_path / "mixed", **how)] == before
    compact_round(round_folder)
    assert kinds(round_folder / "pairs") == [".parquet"] * 5
    for how in ({}, {"streaming": True}):
        assert [row["id"] for row in loaded(round_folder / "pairs", tmp_path / "whole", **how)] == before + added


def test_pairs_that_a_filter_turned_down_become_rejects_and_keep_all_they_had(round_folder: Path) -> None:
    pairs = [Pair.model_validate(row) for row in read_rows(round_folder / "pairs")]
    rejects = list(read_rows(round_folder / "rejects"))
    # A whole shard, and rows of others.
    moved = {
        pair.id: ("leaked", f"because of {number}") for number, pair in enumerate(pairs) if number in (0, 3, 4, 5, 9)
    }
    compact_round(round_folder, moved)
    kept, gone = ([pair for pair in pairs if (pair.id in moved) is out] for out in (False, True))
    assert [Pair.model_validate(row) for row in read_rows(round_folder / "pairs")] == kept
    found = list(read_rows(round_folder / "rejects"))
    assert found[: len(rejects)] == rejects
    assert [Reject.model_validate(row) for row in found[len(rejects) :]] == [
        rejected(pair, *moved[pair.id]) for pair in gone
    ]
    for row, pair in zip(found[len(rejects) :], gone, strict=True):
        shared = set(Pair.model_fields) - {"chosen", "rejected"}
        whole = json.loads(pair.model_dump_json())
        assert {name: row[name] for name in shared} == {name: whole[name] for name in shared}
        assert (row["reason"], row["detail"]) == moved[pair.id]
        assert (row["final"], row["draft"]["text"].strip()) == (pair.chosen[0].content, pair.rejected[0].content)


def test_pairs_of_compacted_shards_can_be_turned_down_later(round_folder: Path) -> None:
    before = ids(round_folder / "pairs")
    rejects = ids(round_folder / "rejects")
    compact_round(round_folder)
    untouched = shards(round_folder / "pairs")[0].stat().st_mtime_ns
    compact_round(round_folder, dict.fromkeys(before[4:], ("leaked", "")))
    assert ids(round_folder / "pairs") == before[:4]
    assert ids(round_folder / "rejects") == rejects + before[4:]
    assert shards(round_folder / "pairs")[0].stat().st_mtime_ns == untouched
    assert kinds(round_folder / "pairs") == [".parquet"] * 2


def test_the_mapping_of_nothing_moves_nothing_and_unknown_ids_do_no_harm(round_folder: Path) -> None:
    before = ids(round_folder / "pairs")
    compact_round(round_folder, {"nobody": ("leaked", "")})
    assert ids(round_folder / "pairs") == before
