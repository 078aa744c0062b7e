"""`constitute import-pairs` and `check` as a person types them: counts, words and exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from records.store import read_rows
from tests.loop.test_cli import Command, command, refused
from tests.tracked import ROOT
from trainer.preferences import read_preferences

DATA = ROOT / "tests" / "data" / "sources"
__all__ = ["command"]


def test_a_public_layout_becomes_a_folder_of_pairs(command: Command, tmp_path: Path) -> None:
    source = str(DATA / "webgpt_comparisons.jsonl")
    options = ["--preset", "webgpt_comparisons", "--test", "0", "--validation", "0"]
    status, told = command("import-pairs", source, "-o", "out/pairs", *options)
    assert status == 0, told
    assert "pairs: 1 (1 train, 0 validation, 0 test)" in told
    assert "ties: 1" in told
    (pair,) = read_preferences([tmp_path / "out" / "pairs"])
    assert pair.chosen[0].content == "Muscles of the larynx [1]."  # type: ignore[union-attr]
    assert not list((tmp_path / "out").glob(".*"))
    assert "there is such a folder already" in refused(command, "import-pairs", source, "-o", "out/pairs", *options)


def test_columns_may_be_named_and_bad_rows_are_listed(command: Command, tmp_path: Path) -> None:
    rows = [{"q": f"Why {number}?", "best": "a", "worst": "b"} for number in range(9)] + [{"q": "Why?", "best": "a"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, told = command("import-pairs", "in.jsonl", "-o", "out", "--columns", "prompt=q, chosen=best,rejected=worst")
    assert status == 0, told
    assert "no_column: 1 (in.jsonl, line 10: no column worst (found q, best)" in told
    assert "every bad row with its reason: out/rejects" in told
    assert [row["row"] for row in read_rows(tmp_path / "out" / "rejects")] == [10]


def test_a_database_gives_pairs_by_a_query(command: Command, tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / "some.duckdb")) as connection:
        connection.execute("create table votes as select 'Why?' as prompt, 'good' as up, 'bad' as down")
    query = "select prompt, up as chosen, down as rejected from votes"
    status, told = command("import-pairs", "some.duckdb", "-o", "out", "--query", query, "--test", "0")
    assert (status, "pairs: 1" in told) == (0, True), told
    assert "found DROP" in refused(command, "import-pairs", "some.duckdb", "-o", "new", "--query", "drop table votes")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch.jsonl"], "nosuch.jsonl: no such file"),
        (["prompts.jsonl"], "found no pair; nothing was written"),
        (["prompts.jsonl", "--preset", "hh-rlfh"], "found no preset 'hh-rlfh'; expected one of hh-rlhf"),
        (["prompts.jsonl", "--preset", "hc3"], "--columns chosen=human_answers,rejected=chatgpt_answers"),
        (["prompts.jsonl", "--columns", "question"], "expected OURS=THEIRS"),
        (["prompts.jsonl", "--columns", "question=prompt"], "found question; expected some of prompt"),
        (["prompts.jsonl", "--test", "1.5"], "test: Input should be less than 1"),
        (["prompts.jsonl", "--revision", "abc"], "revision without hub"),
    ],
)
def test_what_cannot_be_imported_is_told_in_words(
    command: Command, tmp_path: Path, arguments: list[str], words: str
) -> None:
    assert words in refused(command, "import-pairs", *arguments, "-o", "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_check_says_how_many_prompts_of_each_source_are_taken(command: Command, tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text("".join(json.dumps({"prompt": f"tell {n}"}) + "\n" for n in range(90)))
    sources = "sources=[{path: prompts.jsonl, weight: 0.5}, {path: more.jsonl, weight: 0.5}]"
    status, told = command("check", "run.yaml", sources)
    assert status == 0, told
    assert "source prompts.jsonl: 60 taken of 60 prompts" in told
    assert "source more.jsonl: 60 taken of 90 prompts, 30 not taken by weight" in told
    told = refused(command, "check", "run.yaml", "sources=[{path: a.csv, presett: x}]")
    assert "Did you mean 'preset'?" in told


def test_a_hub_data_set_is_asked_for_by_all_that_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked: list[object] = []

    def load(*names: object, **more: object) -> datasets.Dataset:
        asked.append((names, more))
        return datasets.Dataset.from_list([{"prompt": "q", "chosen": "a", "rejected": "b"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    options = ["--subset", "part", "--revision", "abc", "--split", "train_prefs", "--test", "0", "--validation", "0"]
    status, told = command("import-pairs", "hub:owner/name", "-o", "out", *options)
    assert (status, asked) == (0, [(("owner/name", "part"), {"split": "train_prefs", "revision": "abc"})]), told
    (row,) = read_rows(tmp_path / "out")
    assert (row["source"], row["split"]) == ("hub:owner/name/part@abc", "train")
    assert "import hub:owner/name/part@abc: 1 in " in told
