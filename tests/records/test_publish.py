"""Copies elsewhere: each file held against its digest, what fails is told and done again, nothing is left over."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from records.compact import compact_round
from records.errors import ConfigError, StageError
from records.publish import open_place, publish_round, require_new, send_folder, try_place
from records.store import RowStore, read_rows, shards
from tests.generator.toy import outcome_of, script
from tests.loop.toy_export import outcomes, talk, write_rows

ROUND = {*(f"pairs/part-0000{n}.parquet" for n in range(4)), *(f"rejects/part-0000{n}.parquet" for n in range(2)),
         "pairs/README.md", "rejects/README.md"}  # fmt: skip


class Flaky(MemoryFileSystem):
    """A store of its own that fails, or keeps less than it is given, at the n-th file that is written."""

    protocol = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    cachable = False
    written: ClassVar[list[str]] = []
    fails_at, cuts_at = -1, -1

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "wb":
            Flaky.written.append(path)
            if len(Flaky.written) == Flaky.fails_at:
                raise RuntimeError("503 Slow Down\nand more of it")
        file = super()._open(path, mode, **options)
        if mode == "wb" and len(Flaky.written) == Flaky.cuts_at:
            write = file.write
            file.write = lambda data: write(data[:-1])
        return file


@pytest.fixture(autouse=True)
def empty_stores() -> None:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    for system in (MemoryFileSystem, Flaky):
        system.store.clear()
        system.pseudo_dirs[:] = [""]
    Flaky.written.clear()
    Flaky.fails_at = Flaky.cuts_at = -1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "round_00", outcomes())
    compact_round(tmp_path / "round_00")
    return tmp_path / "round_00"


def there(address: str) -> dict[str, bytes]:
    """All files below an address, by name."""
    system, root = fsspec.core.url_to_fs(address)
    return {name.removeprefix(root).lstrip("/"): system.cat_file(name) for name in system.find(root)}


def here(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ROUND}


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_round_is_copied_whole_and_once(folder: Path, tmp_path: Path, kind: str) -> None:
    address = "memory://bucket/run/round_00" if kind == "memory" else f"file://{tmp_path}/bucket/run/round_00"
    try_place(address)
    assert publish_round(folder, address) == len(ROUND)
    assert there(address) == here(folder) and set(there(address)) == ROUND
    assert publish_round(folder, address) == 0
    if kind == "file":
        from datasets import load_dataset

        copy = tmp_path / "bucket" / "run" / "round_00" / "pairs"
        assert list(load_dataset(str(copy), split="train", streaming=True)) == list(read_rows(folder / "pairs"))


def test_a_copy_that_fails_is_told_and_gone_on_with(folder: Path) -> None:
    address = "flaky://bucket/round_00"
    Flaky.fails_at = 3
    with pytest.raises(StageError) as told:
        publish_round(folder, address)
    assert "flaky://bucket/round_00: the place could not be used (503 Slow Down)" in str(told.value)
    assert f"All rows are whole in {folder}. Run the same command again" in str(told.value)
    before = len(Flaky.written)
    assert publish_round(folder, address) == len(ROUND) - 2 == len(Flaky.written) - before
    assert there(address) == here(folder)


def test_a_copy_that_is_not_what_was_sent_is_told_and_sent_again(folder: Path) -> None:
    address = "flaky://bucket/round_00"
    Flaky.cuts_at = 2
    with pytest.raises(StageError, match=r"part-00001.parquet: holds \d+ bytes of digest \w+ .*; expected \d+"):
        publish_round(folder, address)
    assert publish_round(folder, address) == len(ROUND) - 1
    assert there(address) == here(folder)


def test_what_was_lost_there_is_copied_again_and_what_is_gone_here_is_taken_away(folder: Path) -> None:
    address = "memory://bucket/round_00"
    publish_round(folder, address)
    system, root = fsspec.core.url_to_fs(address)
    system.rm_file(f"{root}/pairs/part-00002.parquet")
    assert publish_round(folder, address) == 1
    shards(folder / "pairs")[3].unlink()
    store = RowStore(folder / "pairs", rows_per_shard=1)
    for text in ("One?", "Two?"):
        store.append(outcome_of(script(), talk(text)))
    store.close()
    compact_round(folder)
    shards(folder / "pairs")[0].unlink()
    assert publish_round(folder, address) == 2
    assert set(there(address)) == ROUND - {"pairs/part-00000.parquet"} | {"pairs/part-00004.parquet"}
    assert there(address)["pairs/part-00003.parquet"] == shards(folder / "pairs")[2].read_bytes()


def test_another_address_gets_all_of_it(folder: Path) -> None:
    publish_round(folder, "memory://one/round_00")
    assert publish_round(folder, "memory://two/round_00") == len(ROUND)
    (folder / "published.json").write_text("{")
    assert publish_round(folder, "memory://two/round_00") == len(ROUND), "a note that cannot be read is no note"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nosuch://bucket", "no file system to reach it"),
        ("ftp://user:secret@host/place", "found a user or a password in the address"),
    ],
)
def test_an_address_that_cannot_be_is_refused(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        open_place(address)
    assert "secret" not in str(told.value) and "expected an address such as s3://bucket/folder" in str(told.value)


def test_a_place_that_takes_nothing_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StageError, match=r"taken/place: the place could not be used .* Nothing was run"):
        try_place(f"file://{tmp_path}/taken/place")
    try_place("memory://bucket")
    assert there("memory://bucket") == {}


def test_a_folder_is_sent_with_its_card_last_to_a_new_place_only(tmp_path: Path) -> None:
    export = tmp_path / "export"
    (export / "rejects").mkdir(parents=True)
    for name in ("README.md", "train.jsonl", "rejects/train.jsonl"):
        (export / name).write_text(name)
    place = open_place("flaky://bucket/export")
    require_new(place)
    send_folder(export, place)
    assert [name.removeprefix("flaky://bucket/export/") for name in Flaky.written] == [
        "rejects/train.jsonl", "train.jsonl", "README.md",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"flaky://bucket/export: is there already \(3 files\)"):
        require_new(place)
    assert sorted(there("flaky://bucket/export")) == ["README.md", "rejects/train.jsonl", "train.jsonl"]
