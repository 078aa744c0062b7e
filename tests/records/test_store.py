"""Rows on disk: once, whole, and readable by everybody, whatever killed the writer or filled the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import get_args

import pytest

from records.atomic import write_json_atomic, write_text_atomic
from records.errors import StageError
from records.features import write_card
from records.rows import Message, Pair, Reject, RejectReason, Verdict
from records.shard import DamagedShardError, shard_ids
from records.store import RowStore, read_rows, shards
from tests.generator.toy import outcome_of, prompt, provenance, script
from tests.tracked import ROOT


def row(name: str, **columns):
    asked = prompt(f"Prompt {name}?")
    known = {"id": name, "prompt_id": asked.id, "split": "train", "prompt": asked.messages, "provenance": provenance()}
    return Reject(**{**known, "reason": "complies", **columns})


def ids(folder):
    return [found["id"] for found in read_rows(folder)]


def test_rows_come_back_whole_and_in_order(tmp_path):
    store = RowStore(tmp_path, rows_per_shard=3)
    rows = [row(f"r{number}", detail="a\nb\r\x00 \u2028 \ud800 \U0001f680 \u202e") for number in range(8)]
    for one in rows:
        store.append(one)
    store.close()
    assert [path.name for path in shards(tmp_path)] == [f"part-0000{n}.jsonl" for n in range(3)]
    found = list(read_rows(tmp_path))
    assert [one["id"] for one in found] == [f"r{number}" for number in range(8)]
    assert [Reject.model_validate(one) for one in found] == rows


def test_a_whole_outcome_with_hostile_texts_survives(tmp_path):
    text = "lone \udfff, null \x00, emoji \U0001f9d1\u200d\U0001f680, \u202eleft\u202c, <|im_end|>, }}"
    outcome = outcome_of(script(draft="Boil it, fool, and surely kick the cat."), prompt(text))
    assert isinstance(outcome, Pair)
    store = RowStore(tmp_path)
    store.append(outcome)
    store.close()
    (found,) = read_rows(tmp_path)
    assert Pair.model_validate(found) == outcome
    assert found["prompt"][0]["content"] == text


def test_reopening_goes_on_where_it_stopped(tmp_path):
    for number in range(5):
        store = RowStore(tmp_path, rows_per_shard=2)
        assert store.ids == {f"r{before}" for before in range(number)}
        store.append(row(f"r{number}"))
        store.close()
    assert [len(path.read_text().splitlines()) for path in shards(tmp_path)] == [2, 2, 1]


def test_a_second_row_of_an_id_is_refused(tmp_path):
    store = RowStore(tmp_path)
    store.append(row("r"))
    with pytest.raises(AssertionError, match="already"):
        store.append(row("r"))
    with pytest.raises(AssertionError, match="already"):
        RowStore(tmp_path).append(row("r"))
    assert ids(tmp_path) == ["r"]


@pytest.mark.parametrize("torn", ['{"id": "b", "x', '{"id": "b"}', "{", "x" * 200_000])
def test_a_torn_tail_is_passed_over_then_cut(tmp_path, torn):
    store = RowStore(tmp_path)
    store.append(row("a"))
    store.close()
    (path,) = shards(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode())
    assert ids(tmp_path) == ["a"]
    store = RowStore(tmp_path)
    assert (store.ids, path.read_bytes()) == ({"a"}, whole)
    store.append(row("b"))
    store.close()
    assert ids(tmp_path) == ["a", "b"]


def test_a_shard_that_held_only_a_torn_row_goes(tmp_path):
    (tmp_path / "part-00000.jsonl").write_text('{"id": "a"')
    assert RowStore(tmp_path).ids == set()
    assert shards(tmp_path) == []


def test_a_shard_moved_out_leaves_the_others_as_they_are(tmp_path):
    store = RowStore(tmp_path, rows_per_shard=1)
    for name in "abc":
        store.append(row(name))
    store.close()
    shards(tmp_path)[1].unlink()
    store = RowStore(tmp_path, rows_per_shard=1)
    store.append(row("b"))
    store.close()
    assert ids(tmp_path) == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (b'{"id": "a"}\nnot json\n{"id": "b"}\n', "line 2 is not a row"),
        (b'{"id": "a"}\n{"no": "id"}\n', "line 2 has no id"),
        (b'{"id": "a"}\n[]\n', "line 2 has no id"),
        (b'{"id": "a"}\n{"id": 3}\n', "line 2 has no id"),
        (b'{"id": "a"}\n\n', "line 2 is not a row"),
        (b'{"id": "a"}\n{"id": "b\xff"}\n', "line 2 is not a row"),
        (b'{"schema_version":1,"id":"b\xff","x":1}\n', "line 1 has no id"),
        (b"\x00" * 40 + b"\n", "line 1 is not a row"),
        (b"[" * 100_000 + b"\n", "line 1 is not a row"),
    ],
)
def test_damage_is_named(tmp_path, lines, found):
    (tmp_path / "part-00000.jsonl").write_bytes(lines)
    with pytest.raises(DamagedShardError, match=rf"part-00000.jsonl: {found}.*; expected the rows"):
        RowStore(tmp_path)


FULL_DISK = """
import resource, sys
from pathlib import Path
from records.errors import StageError
from records.store import RowStore
from tests.records.test_store import row
store = RowStore(Path(sys.argv[1]))
# The file may grow to this size and no further, as on a full disk: the last write takes a part of the row.
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
written = 0
try:
    while True:
        store.append(row(f"r{written}", detail="x" * int(sys.argv[2])))
        written += 1
except StageError as error:
    store.close()
    print(written)
    print(error)
"""


@pytest.mark.parametrize("size", [10, 700, 6000])
def test_a_full_disk_tears_nothing_and_loses_nothing(tmp_path, size):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path, str(size)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    written, message = done.stdout.split("\n", 1)
    assert "could not be written" in message and "run the same command again" in message
    assert ids(tmp_path) == [f"r{number}" for number in range(int(written))]
    assert all(path.read_bytes().endswith(b"\n") for path in shards(tmp_path)), "nothing torn is left"
    store = RowStore(tmp_path)
    store.append(row("next"))
    store.close()
    assert ids(tmp_path)[-1] == "next"


def test_a_vanished_folder_is_a_stage_error(tmp_path):
    store = RowStore(tmp_path / "rows")
    (tmp_path / "rows").rmdir()
    with pytest.raises(StageError, match="could not be written"):
        store.append(row("a"))


def test_a_file_that_cannot_be_written_keeps_its_old_content(tmp_path):
    path = tmp_path / "report.json"
    write_json_atomic(path, {"old": True})
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(path, {"new": float("nan")})
    (tmp_path / "taken").write_text("")
    with pytest.raises(StageError, match="could not be written"):
        write_text_atomic(tmp_path / "taken" / "report.json", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StageError, match="could not be written"):
        write_text_atomic(tmp_path / "folder", "x")
    assert json.loads(path.read_text()) == {"old": True}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "report.json", "taken"]


def test_datasets_reads_a_folder_whose_first_shard_lacks_every_optional_value(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from datasets import load_dataset

    folder = tmp_path / "rejects"
    store = RowStore(folder, rows_per_shard=2)
    write_card(folder, Reject)
    told = outcome_of(script(critic=lambda *_: "unparsed"), prompt(group="g", benign=False))
    severe = Verdict(principle="polite", verdict="violates", severity=3, critique="Rude.")
    full = told.model_copy(update={"severity": 3, "final_verdicts": (severe,), "violated": ("polite",)})
    for one in [row("a"), row("b"), full]:
        store.append(one)
    store.close()
    found = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert set(found.column_names) == set(Reject.model_fields)
    assert found.features["severity"].dtype == "int64"
    assert found["severity"] == [None, None, 3]
    assert found[2]["final_verdicts"][0] == severe.model_dump()
    assert found[2]["draft"]["token_ids"] == list(full.draft.token_ids)
    assert found[2]["benign"] is False and found[0]["benign"] is None
    assert found[2]["trail"][1]["verdict"] == "unparsed"
    assert found[0]["prompt"] == [Message(role="user", content="Prompt a?").model_dump()]
    assert set(found["reason"]) <= set(get_args(RejectReason))


def test_datasets_reads_pairs_in_the_conversational_format(tmp_path):
    from datasets import load_dataset

    store = RowStore(tmp_path / "pairs")
    write_card(tmp_path / "pairs", Pair)
    pair = outcome_of(script())
    store.append(pair)
    store.close()
    (found,) = load_dataset(str(tmp_path / "pairs"), split="train", cache_dir=str(tmp_path / "cache"))
    assert found["chosen"] == [turn.model_dump() for turn in pair.chosen]
    assert found["provenance"]["constitution_digest"] == pair.provenance.constitution_digest


def three_shards(folder):
    store = RowStore(folder, rows_per_shard=3)
    for number in range(8):
        store.append(row(f"r{number}"))
    store.close()
    return {f"r{number}" for number in range(8)}


def test_finding_what_is_done_does_not_read_the_rows_of_full_shards(tmp_path, monkeypatch):
    everything = three_shards(tmp_path)
    read = []
    monkeypatch.setattr("records.store.shard_ids", lambda path: read.append(path.name) or shard_ids(path))
    assert RowStore(tmp_path).ids == everything
    assert read == ["part-00002.jsonl"]
    # What was noted is only believed of the shard as it was.
    for spoil in (lambda note: note.unlink(), lambda note: note.write_text(note.read_text().replace('"r1"', '"rX"')),
                  lambda note: note.write_text(note.read_text()[:40]), lambda note: note.write_text("[]")):  # fmt: skip
        spoil(tmp_path / ".part-00000.ids")
        read.clear()
        assert RowStore(tmp_path).ids == everything
        assert read == ["part-00000.jsonl", "part-00002.jsonl"]
        read.clear()
        assert RowStore(tmp_path).ids == everything
        assert read == ["part-00002.jsonl"], "what had to be read is noted"


def test_a_shard_that_changed_is_read_whatever_was_noted(tmp_path):
    three_shards(tmp_path)
    first = shards(tmp_path)[0]
    first.write_bytes(first.read_bytes().replace(b'"id":"r1"', b'"id":"rX"', 1))
    assert RowStore(tmp_path).ids == {"r0", "rX", *(f"r{number}" for number in range(2, 8))}
    first.write_bytes(first.read_bytes()[:-1] + b"x\n")
    with pytest.raises(DamagedShardError):
        RowStore(tmp_path)


def test_a_note_that_cannot_be_written_does_no_harm(tmp_path):
    (tmp_path / ".part-00000.ids").mkdir()
    everything = three_shards(tmp_path)
    assert RowStore(tmp_path).ids == everything


@pytest.mark.parametrize(
    "line",
    [
        b'{"schema_version":1,"id":"a","x":{"id":"b"}}',
        b'{"id":"a"}',
        b'{"x":{"id":"b"},"id":"a"}',
        b'{ "id" : "a" }',
        b'{"id":"\\u0061"}',
        b'{"schema_version":1,"id":"b\\"","id":"a"}',
        b'{"schema_version":1.0,"id":"a"}',
    ],
)
def test_an_id_is_told_without_a_parse_only_where_no_other_could_be_meant(tmp_path, line):
    (tmp_path / "part-00000.jsonl").write_bytes(line + b"\n")
    assert list(shard_ids(tmp_path / "part-00000.jsonl")) == ["a"]
