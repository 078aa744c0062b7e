"""Each layout written, read back by its own reader, and compared with the pairs that the run stores."""

from __future__ import annotations

import hashlib
import json
import re
import tracemalloc
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from loop.export import export
from loop.export_source import Tally
from loop.export_wanted import Wanted
from records.compact import compact_round
from records.rows import Pair, Reject
from records.store import RowStore, read_rows, row_line
from tests.generator.toy import CONSTITUTION
from tests.loop.toy_export import (
    LONE,
    outcome_of,
    outcomes,
    script,
    stored,
    talk,
    write_rows,
    write_run,
    write_template,
)
from tests.scripted import byte_tokenizer
from trainer.preferences import read_preferences

SPLITS = ("train", "validation")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("outputs") / "toy")


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """`datasets.load_dataset(folder)`, as a user calls it; rows by split."""
    import datasets

    datasets.disable_progress_bars()

    def read(folder: Path, *name: str) -> dict[str, list[dict[str, Any]]]:
        found = datasets.load_dataset(str(folder), *name, cache_dir=str(tmp_path / "cache"))
        return {split: list(rows) for split, rows in found.items()}

    return read


def write(run: Path, to: str, output: Path, **columns: Any) -> Tally:
    return export(Wanted(run, to, output, **columns))


def turns(messages: Any) -> list[tuple[str, str]]:
    return [
        (turn["role"], turn["content"]) if isinstance(turn, dict) else (turn.role, turn.content) for turn in messages
    ]


def test_trl_holds_every_column_of_every_pair(run: Path, tmp_path: Path, load: Any) -> None:
    write(run, "trl", tmp_path / "out")
    found = load(tmp_path / "out")
    assert list(found) == list(SPLITS)
    for split in SPLITS:
        assert [Pair.model_validate(row) for row in found[split]] == stored(run, 0, 1, split=split)
        assert len(found[split]) == 10
    kept = [json.loads(line) for split in SPLITS for line in (tmp_path / "out" / f"{split}.jsonl").open()]
    assert sorted(map(str, kept)) == sorted(
        str(row) for k in (0, 1) for row in read_rows(run / f"round_0{k}" / "pairs")
    )


def test_trl_is_what_the_trainer_here_reads(run: Path, tmp_path: Path) -> None:
    write(run, "trl", tmp_path / "out")
    found = {row.id: row for row in read_preferences([tmp_path / "out"])}
    pairs = stored(run, 0, 1)
    assert len(found) == len(pairs)
    for pair in pairs:
        row = found[pair.id]
        assert (row.split, row.prompt, row.chosen, row.rejected) == (
            pair.split,
            pair.prompt,
            pair.chosen,
            pair.rejected,
        )


def test_trl_standard_is_the_rendering_of_the_named_template(run: Path, tmp_path: Path, load: Any) -> None:
    write(run, "trl-standard", tmp_path / "out", template=write_template(tmp_path))
    found = load(tmp_path / "out")
    for split in SPLITS:
        pairs = stored(run, 0, 1, split=split)
        assert [row["id"] for row in found[split]] == [pair.id for pair in pairs]
        for row, pair in zip(found[split], pairs, strict=True):
            for side in ("chosen", "rejected"):
                whole = [turn.model_dump() for turn in (*pair.prompt, *getattr(pair, side))]
                assert row["prompt"] + row[side] == byte_tokenizer().apply_chat_template(whole, tokenize=False)
            assert row["prompt"].endswith("<|im_start|>assistant\n")


def test_a_models_folder_is_a_named_template_too(run: Path, tmp_path: Path) -> None:
    byte_tokenizer().save_pretrained(tmp_path / "model")
    write(run, "trl-standard", tmp_path / "a", template=str(tmp_path / "model"))
    write(run, "trl-standard", tmp_path / "b", template=write_template(tmp_path))
    for split in SPLITS:
        assert (tmp_path / "a" / f"{split}.jsonl").read_bytes() == (tmp_path / "b" / f"{split}.jsonl").read_bytes()


def test_nemo_rl_ranks_chosen_0(run: Path, tmp_path: Path, load: Any) -> None:
    write(run, "nemo-rl", tmp_path / "out")
    found = load(tmp_path / "out")
    for split in SPLITS:
        for row, pair in zip(found[split], stored(run, 0, 1, split=split), strict=True):
            assert set(row) == {"context", "completions", "task_name"}
            assert turns(row["context"]) == turns(pair.prompt)
            ranked = {one["rank"]: turns(one["completion"]) for one in row["completions"]}
            assert ranked == {0: turns(pair.chosen), 1: turns(pair.rejected)}
            assert row["task_name"] == "toy"


def test_open_cai_holds_whole_conversations_in_prefs_and_sft(run: Path, tmp_path: Path, load: Any) -> None:
    write(run, "open-cai", tmp_path / "out")
    found = load(tmp_path / "out")
    assert set(found) == {"train_prefs", "train_sft", "validation_prefs", "validation_sft"}
    for split in SPLITS:
        for kind in ("prefs", "sft"):
            for row, pair in zip(found[f"{split}_{kind}"], stored(run, 0, 1, split=split), strict=True):
                assert row["id"] == pair.id
                assert row["prompt"] == pair.prompt[-1].content
                assert turns(row["chosen"]) == turns(row["messages"]) == turns((*pair.prompt, *pair.chosen))
                assert turns(row["rejected"]) == turns((*pair.prompt, *pair.rejected))


def test_annotated_pairs_say_who_prefers_which_side(run: Path, tmp_path: Path, load: Any) -> None:
    write(run, "annotated-pairs", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "annotated_pairs.json").read_text(encoding="utf-8"))
    metadata, known = document["metadata"], document["annotators"]
    assert (metadata["version"], metadata["dataset_name"]) == ("2.0", "toy")
    assert datetime.strptime(metadata["created_at"], "%Y-%m-%dT%H:%M:%SZ")
    norms = {hashlib.md5(one.text.encode()).hexdigest()[:8]: one for one in CONSTITUTION.principles}
    assert set(known) == {*norms, metadata["default_annotator"]}
    assert all((known[id]["description"], known[id]["type"]) == (norms[id].text, "principle") for id in norms)
    pairs = stored(run, 0, 1)
    sides = Counter[str]()
    for entry, pair in zip(document["comparisons"], pairs, strict=True):
        better = entry["annotations"][metadata["default_annotator"]]["pref"]
        sides[better] += 1
        text = {side: entry[f"response_{side}"]["text"] for side in "ab"}
        assert text[better] == pair.chosen[0].content
        assert text["b" if better == "a" else "a"] == pair.rejected[0].content
        for id, principle in norms.items():
            if principle.id in pair.violated:
                assert entry["annotations"][id] == {"pref": better}
            else:
                assert entry["annotations"][id]["pref"] is None
        responses = [json.dumps(entry[f"response_{side}"], sort_keys=True) for side in "ab"]
        content = "|".join([entry["prompt"], *responses])
        assert entry["id"] == hashlib.md5(content.encode()).hexdigest()[:8]
        assert (entry["metadata"]["pair_id"], entry["metadata"]["split"]) == (pair.id, pair.split)
        assert turns(json.loads(entry["metadata"]["prompt_messages"])) == turns(pair.prompt)
        assert all(turn.content in entry["prompt"] for turn in pair.prompt)
    assert min(sides["a"], sides["b"]) >= 3
    given = [given for entry in document["comparisons"] for given in entry["annotations"].values()]
    assert {one.get("no_pref_reason") for one in given} == {None, "both", "not_applicable"}
    ids = [row["id"] for row in load(tmp_path / "out")["comparisons"]]
    assert ids == [row["id"] for row in document["comparisons"]]


@pytest.mark.parametrize("to", ["trl", "nemo-rl", "annotated-pairs"])
def test_rejects_are_a_second_table_when_asked_for(run: Path, tmp_path: Path, load: Any, to: str) -> None:
    write(run, to, tmp_path / "with", include_rejects=True)
    write(run, to, tmp_path / "without")
    assert not (tmp_path / "without" / "rejects").exists()
    found = load(tmp_path / "with", "rejects")
    rejects = [Reject.model_validate(row) for k in (0, 1) for row in read_rows(run / f"round_0{k}" / "rejects")]
    for split in SPLITS:
        wanted = [row for row in rejects if row.split == split]
        assert [Reject.model_validate(row) for row in found[split]] == wanted
        assert len(wanted) == 4
    assert load(tmp_path / "with").keys() == load(tmp_path / "without").keys()


def test_rounds_and_splits_are_chosen(run: Path, tmp_path: Path) -> None:
    tally = write(run, "trl", tmp_path / "out", rounds=(1,), splits=("validation",))
    assert set(tally.pairs) == {(1, "validation")}
    assert not (tmp_path / "out" / "train.jsonl").exists()
    ids = [json.loads(line)["id"] for line in (tmp_path / "out" / "validation.jsonl").open()]
    assert ids == [pair.id for pair in stored(run, 1, split="validation")]


@pytest.mark.parametrize(
    ("to", "name", "splits"), [("trl", "p.jsonl", ("train",)), ("annotated-pairs", "p.json", SPLITS)]
)
def test_one_file_can_be_asked_for(run: Path, tmp_path: Path, to: str, name: str, splits: tuple[str, ...]) -> None:
    write(run, to, tmp_path / "new" / name, splits=splits)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {name, "p.md"}
    write(run, to, tmp_path / "whole", splits=splits)
    (whole,) = [path for path in (tmp_path / "whole").iterdir() if path.suffix == Path(name).suffix]
    moment = re.compile('"created_at": "[^"]*"')
    one, other = (moment.sub("", path.read_text()) for path in (tmp_path / "new" / name, whole))
    assert one == other
    assert len(one) > 1000
    assert f"path: {name}" in (tmp_path / "new" / "p.md").read_text()


def test_a_folder_of_pairs_is_exported_with_its_constitution_named(run: Path, tmp_path: Path) -> None:
    folder = run / "round_01" / "pairs"
    norms = str(run / "constitution.yaml")
    write(folder, "annotated-pairs", tmp_path / "out", constitution=norms)
    document = json.loads((tmp_path / "out" / "annotated_pairs.json").read_text())
    assert [row["metadata"]["pair_id"] for row in document["comparisons"]] == [pair.id for pair in stored(run, 1)]
    assert write(folder, "trl", tmp_path / "plain").pairs.total() == 10
    assert "not given to the export" in (tmp_path / "plain" / "README.md").read_text()


def test_a_character_no_file_can_hold_is_replaced_and_counted(tmp_path: Path, load: Any) -> None:
    write_rows(tmp_path / "rows", [outcome_of(script(), talk(LONE)), outcome_of(script(), talk("Whole?"))])
    for to in ("trl", "nemo-rl"):
        assert write(tmp_path / "rows" / "pairs", to, tmp_path / to).mended == 1
        assert "In 1 rows" in (tmp_path / to / "README.md").read_text()
    assert [row["prompt"][0]["content"] for row in load(tmp_path / "trl")["train"]] == ["lone \ufffd here", "Whole?"]
    assert load(tmp_path / "nemo-rl")["train"][0]["context"][0]["content"] == "lone \ufffd here"


def test_a_pair_that_spells_a_marker_is_left_out_of_strings_and_counted(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows", [outcome_of(script(), talk("<|im_end|>?")), outcome_of(script(), talk("Whole?"))])
    output = tmp_path / "out"
    tally = write(tmp_path / "rows" / "pairs", "trl-standard", output, template=write_template(tmp_path))
    assert (tally.pairs.total(), dict(tally.left_out)) == (1, {(0, "train", "spells_marker"): 1})
    card = (output / "README.md").read_text()
    assert "| 0, train | 2 | 1 | 1 |" in card
    assert "spells a marker" in card
    assert len((output / "train.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(("to", "compacted"), [("trl", False), ("trl", True), ("annotated-pairs", False)])
def test_memory_does_not_grow_with_the_rows(run: Path, tmp_path: Path, to: str, compacted: bool) -> None:
    pair = stored(run, 0)[0]
    peaks = {}
    for count in (200, 2000):
        folder = tmp_path / str(count) / "pairs"
        store = RowStore(folder)
        for number in range(count):
            store.append(pair.model_copy(update={"id": f"{number}"}))
        store.close()
        if compacted:
            compact_round(folder.parent)
        norms = str(run / "constitution.yaml")
        wanted = Wanted(folder, to, tmp_path / f"{to}-{count}", constitution=norms)
        tracemalloc.start()
        assert export(wanted).pairs.total() == count
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert 2000 * len(row_line(pair)) > 6 * 2**20
    assert peaks[2000] < peaks[200] + 2**20


def test_the_fixture_has_pairs_and_rejects_of_several_kinds() -> None:
    made = outcomes()
    assert Counter(type(row).__name__ for row in made) == {"Pair": 10, "Reject": 4}
    assert {row.reason for row in made if isinstance(row, Reject)} == {"complies", "unparsed"}
    assert max(len(row.prompt) for row in made) == 4
