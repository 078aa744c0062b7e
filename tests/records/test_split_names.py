"""Names that speak of a split: files, folders, columns; rows that a source holds out never come to training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from records.errors import DataError
from records.sources.import_pairs import import_pairs
from records.sources.origin import Origin
from records.sources.readers import read_origin
from records.sources.split_names import split_named
from records.splits import SplitShares
from records.store import read_rows
from trainer.preferences import read_preferences

ALL_TRAIN = SplitShares(validation=0, test=0)


def put(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(prompt: str = "q", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": "a", "rejected": "b", **more}


NAMES = {
    "train.jsonl": "train",
    "data.jsonl": "train",
    "latest.jsonl": "train",
    "contested.jsonl": "train",
    "validation-00000-of-00002.jsonl": "validation",
    "valid.jsonl": "validation",
    "val.jsonl": "validation",
    "dev.jsonl": "validation",
    "eval.jsonl": "validation",
    "default/validation/0000.jsonl": "validation",
    "test.jsonl": "test",
    "TEST.jsonl": "test",
    "my_test.jsonl": "test",
    "testing.jsonl": "test",
    "heldout.jsonl": "test",
    "held-out.jsonl": "test",
    "aTestSet.jsonl": "test",
    "default/test/0000.jsonl": "test",
    "train/held_out/0.jsonl": "test",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_trainer_and_the_import_take_a_files_place_for_its_split(name: str, tmp_path: Path) -> None:
    put(tmp_path / "in" / name, row())
    import_pairs(Origin(path=str(tmp_path / "in")), tmp_path / "out", ALL_TRAIN)
    folder = tmp_path / "out" / "test" if NAMES[name] == "test" else tmp_path / "out"
    assert [found["split"] for found in read_rows(folder)] == [NAMES[name]]
    if NAMES[name] == "test":
        with pytest.raises(DataError, match="split is 'test' by the name of its file or folder, which is held"):
            read_preferences([tmp_path / "in"])
    else:
        assert [one.split for one in read_preferences([tmp_path / "in"])] == [NAMES[name]]


def test_what_is_named_itself_says_its_split_and_what_lies_above_it_nothing(tmp_path: Path) -> None:
    path = put(tmp_path / "test" / "pairs" / "a.jsonl", row())
    assert len(read_preferences([path.parent])) == 1
    with pytest.raises(DataError, match="held out"):
        read_preferences([path.parent.parent])


def test_a_saved_split_is_what_its_folder_is_called(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    one = Dataset.from_list([row()])
    DatasetDict(dict.fromkeys(("train", "validation", "test"), one)).save_to_disk(str(tmp_path / "sets"))
    assert [one.split for one in read_preferences([tmp_path / "sets" / "validation"])] == ["validation"]
    with pytest.raises(DataError, match="held out"):
        read_preferences([tmp_path / "sets" / "test"])
    import_pairs(Origin(path=str(tmp_path / "sets"), split="test"), tmp_path / "out", ALL_TRAIN)
    assert not list((tmp_path / "out").glob("part-*")) and list((tmp_path / "out" / "test").glob("part-*"))


def test_a_column_says_it_too_and_the_strictest_statement_counts(tmp_path: Path) -> None:
    rows = [row("a", split="test"), row("b", split="val"), row("c", split="train_prefs"), row("d", split="x")]
    import_pairs(Origin(path=str(put(tmp_path / "in.jsonl", *rows))), tmp_path / "out", ALL_TRAIN)
    kept = {found["prompt"][0]["content"]: found["split"] for found in read_rows(tmp_path / "out")}
    assert kept == {"b": "validation", "c": "train", "d": "train"}
    assert [found["prompt"][0]["content"] for found in read_rows(tmp_path / "out" / "test")] == ["a"]
    named = put(tmp_path / "named.jsonl", row("a", part="Held-out"), row("b", part="train"))
    import_pairs(Origin(path=str(named), columns={"split": "part"}), tmp_path / "more", ALL_TRAIN)
    assert [found["prompt"][0]["content"] for found in read_rows(tmp_path / "more")] == ["b"]
    put(tmp_path / "test.jsonl", row("a", split="train"))
    with pytest.raises(DataError, match="held out"):
        read_preferences([tmp_path / "test.jsonl"])


def test_a_split_chooses_files_by_name_or_is_refused(tmp_path: Path) -> None:
    for name in ("train_sft-00000.jsonl", "train_prefs.jsonl", "test/0000.jsonl"):
        put(tmp_path / "in" / name, row(name))

    def read(split: str, path: Path = tmp_path / "in") -> list[str]:
        return [found.row["prompt"] for found in read_origin(Origin(path=str(path), split=split))]

    assert read("train_sft") == ["train_sft-00000.jsonl"]
    assert read("test") == ["test/0000.jsonl"]
    with pytest.raises(DataError, match="found no file of split train by its name; expected such as train-00000"):
        read("train")
    with pytest.raises(DataError, match="one file, all of which is read; expected no split here"):
        read("train", tmp_path / "in" / "train_prefs.jsonl")
    own = [{**row(), "id": f"{number}", "provenance": {}} for number in range(2)]
    put(tmp_path / "own" / "part-00000.jsonl", *own)
    with pytest.raises(DataError, match="a folder without splits"):
        read("train", tmp_path / "own")


def test_other_peoples_parts_are_ordinary_files(tmp_path: Path) -> None:
    """A last line without its newline is a row like others there, and what lies beside the parts is read too."""
    folder = tmp_path / "parts"
    put(folder / "part-00000.jsonl", row("a", id="0"))
    path = folder / "part-00001.jsonl"
    path.write_text(json.dumps(row("b", id="1")) + "\n" + json.dumps(row("c", id="2")))
    put(folder / "more.jsonl", row("d"))
    assert {one.prompt for one in read_preferences([folder])} == {"a", "b", "c", "d"}
    path.write_text(json.dumps(row("b")) + "\n" + json.dumps(row("c"))[:-4])
    counts = import_pairs(Origin(path=str(folder)), tmp_path / "out", ALL_TRAIN)
    assert (counts.pairs.total(), counts.faults) == (3, {"unreadable": 1})


def test_own_shards_are_read_as_sources_without_a_torn_end_and_what_lies_below(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    own = [{**row(f"q{number}"), "id": f"{number}", "provenance": {}} for number in range(2)]
    path = put(folder / "part-00000.jsonl", *own)
    path.write_text(path.read_text() + '{"id": "torn')
    put(folder / "test" / "part-00000.jsonl", row("held out"))
    assert [found.row["prompt"] for found in read_origin(Origin(path=str(folder)))] == ["q0", "q1"]


def test_words_are_words() -> None:
    assert [split_named(name) for name in ("protest", "attest.csv", "devices", "evaluate_me", "trained")] == [None] * 5
    assert split_named("train_test") == "test"
