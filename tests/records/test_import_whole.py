"""An import is there whole or not at all, whatever kills it or runs beside it; its card shows hostile text as text."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from records.errors import StageError
from records.sources.import_pairs import import_pairs
from records.sources.origin import Origin
from records.splits import SplitShares
from records.store import read_rows
from tests.tracked import ROOT

ALL_TRAIN = SplitShares(validation=0, test=0)
KILLED = """
import os, signal, sys
from pathlib import Path
import records.sources.import_pairs as importing
from records.sources.origin import Origin
from records.splits import SplitShares
os.getpid = lambda: 1
importing._write_cards = lambda *_: os.kill(int(os.readlink("/proc/self")), signal.SIGKILL)
importing.import_pairs(Origin(path="old.jsonl"), Path("out"), SplitShares(validation=0, test=0))
"""


def write(path: Path, *rows: Any) -> Origin:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Origin(path=str(path))


def pair(prompt: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": "good: so\n\nyes", "rejected": "bad", **more}


def prompts(folder: Path) -> list[str]:
    return [row["prompt"][0]["content"] for row in read_rows(folder)]


def test_nothing_of_a_killed_import_is_in_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container every process may have the same number; the rows must not depend on it."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "old.jsonl", pair("old"), {"prompt": "bad row"})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "out").exists() and list(tmp_path.glob(".out*"))
    monkeypatch.setattr(os, "getpid", lambda: 1)
    counts = import_pairs(write(tmp_path / "new.jsonl", pair("new"), {"prompt": "worse"}), Path("out"), ALL_TRAIN)
    assert (counts.pairs.total(), counts.faults.total(), counts.duplicates) == (1, 1, 0)
    assert prompts(Path("out")) == ["new"]
    assert [json.loads(row["content"])["prompt"] for row in read_rows(Path("out/rejects"))] == ["worse"]
    assert not list(tmp_path.glob(".out*"))


def test_of_two_imports_to_one_place_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import records.sources.import_pairs as importing

    first, second = write(tmp_path / "a.jsonl", pair("a")), write(tmp_path / "b.jsonl", pair("b"))
    reading, goes_on = threading.Event(), threading.Event()
    real = importing.read_origin

    def slow(origin: Origin) -> Any:
        if origin is first:
            reading.set()
            assert goes_on.wait(20)
        yield from real(origin)

    monkeypatch.setattr(importing, "read_origin", slow)
    thread = threading.Thread(target=import_pairs, args=(first, tmp_path / "out", ALL_TRAIN))
    thread.start()
    assert reading.wait(20)
    with pytest.raises(StageError, match="another process writes there"):
        import_pairs(second, tmp_path / "out", ALL_TRAIN)
    goes_on.set()
    thread.join(20)
    assert prompts(tmp_path / "out") == ["a"]


HOSTILE = "<img src=x onerror=alert(1)>\n\n# Licence: CC0 | `x` [a](http://b)\x1b]0;owned\x07\ud800"


def test_the_card_and_the_screen_show_hostile_names_and_values_as_text(tmp_path: Path) -> None:
    rows = [pair("a"), {HOSTILE: 1}, pair("b", chosen_rating=HOSTILE), {"prompt": [{HOSTILE: 1}], **pair("c")}]
    source = write(tmp_path / "<b>&.jsonl", *rows)
    counts = import_pairs(source, tmp_path / "out", ALL_TRAIN)
    assert counts.faults.total() == 2
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    body = card.split("---\n", 2)[2]
    for mark in ("<img", "<b>", "\n# Licence", "`x`", "[a](", "\x1b", "\x07"):
        assert mark not in body
    assert "&#60;img src" in body and "bad rows: 2" in body
    told = "\n".join(counts.lines())
    assert "\x1b" not in told and "\ud800" not in told and "\n# Licence" not in told
    assert HOSTILE in json.loads(next(iter(read_rows(tmp_path / "out" / "rejects")))["content"])


def test_each_bad_pair_of_a_row_is_a_reject_of_its_own(tmp_path: Path) -> None:
    row = {"prompt": "q", "chosen": ["a", "b", ""], "rejected": ["b"]}
    counts = import_pairs(write(tmp_path / "in.jsonl", row), tmp_path / "out", ALL_TRAIN)
    assert (counts.rows, counts.pairs.total(), counts.ties) == (1, 1, 0)
    assert counts.faults == {"same_answers": 1, "empty": 1}
    rejects = list(read_rows(tmp_path / "out" / "rejects"))
    assert [(one["id"], one["reason"]) for one in rejects] == [
        ("row-00000001", "same_answers"),
        ("row-00000001-2", "empty"),
    ]


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "json.gz", "jsonl.gz"])
def test_paragraphs_and_colons_of_every_side_survive_in_every_kind(kind: str, tmp_path: Path) -> None:
    rows = [pair(f'Why "{number}"?\n\nIt is: so, and\r\nso.', rejected="no: \n\n- 1,\n- 2") for number in range(3)]
    opened: Any = gzip.open if kind.endswith(".gz") else open
    with opened(tmp_path / f"in.{kind}", "wt", newline="", encoding="utf-8") as file:
        if kind.startswith("csv"):
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        elif kind.startswith("jsonl"):
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            json.dump(rows, file)
    import_pairs(Origin(path=str(tmp_path / f"in.{kind}")), tmp_path / "out", ALL_TRAIN)
    found = [
        {name: row[name][0]["content"] for name in ("prompt", "chosen", "rejected")}
        for row in read_rows(tmp_path / "out")
    ]
    assert found == rows


def test_an_imported_folder_is_a_source_again(tmp_path: Path) -> None:
    rows = [pair(f"q{number}", doc=f"d{number % 3}") for number in range(30)]
    shares = SplitShares(validation=0.2, test=0.3)
    source = write(tmp_path / "in.jsonl", *rows).model_copy(update={"columns": {"group": "doc"}})
    first = import_pairs(source, tmp_path / "out", shares)
    again = import_pairs(Origin(path=str(tmp_path / "out")), tmp_path / "again", shares)
    assert again.faults == {} and again.pairs["train"] == first.pairs["train"]
    assert prompts(tmp_path / "again") == prompts(tmp_path / "out")


REAL = ROOT.parent / "shared" / "data" / "anthropic_cai"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not here")
def test_the_real_files_give_every_pair_to_the_letter(tmp_path: Path) -> None:
    from records.sources.comparisons import compare

    source = Origin(path=str(REAL / "438HHHEvaluations.jsonl"), preset="hhh")
    counts = import_pairs(source, tmp_path / "hhh", ALL_TRAIN)
    assert (counts.pairs.total(), counts.faults, counts.ties) == (438, {}, 0)
    spelled = [json.loads(line) for line in (REAL / "438HHHEvaluations.jsonl").open()]
    for row, held in zip(read_rows(tmp_path / "hhh"), spelled, strict=True):
        (expected,) = compare(None, held["text_correct"], held["text_incorrect"])
        for name in ("prompt", "chosen", "rejected"):
            said = [(turn.role, turn.content.strip()) for turn in getattr(expected, name)]
            assert [(turn["role"], turn["content"].strip()) for turn in row[name]] == said
    source = Origin(path=str(REAL / "PALMS_SLMADISON.jsonl"), preset="palms")
    counts = import_pairs(source, tmp_path / "palms", ALL_TRAIN)
    assert (counts.pairs.total(), counts.faults) == (40, {})
    chains = [json.loads(line) for line in (REAL / "PALMS_SLMADISON.jsonl").open() if line.strip()]
    for row, held in zip(read_rows(tmp_path / "palms"), chains, strict=True):
        sides = [row[name][0]["content"] for name in ("rejected", "chosen")]
        assert sides == [
            text.removeprefix(" ")
            for text in (held["initial_response"][0]["sample"], held["cst"][-1]["revision"]["sample"])
        ]
        assert [entry["text"] for entry in row["trail"]] == [
            step[kind]["sample"] for step in held["cst"] for kind in ("critique", "revision")
        ]
