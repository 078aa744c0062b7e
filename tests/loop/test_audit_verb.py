"""`constitute audit`: from the rows of a run to findings in words, figures in JSON, and a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.simulated.planted import World, build_world, rows
from loop.audit_picture import MOST, draw_audit
from loop.audit_text import audit_text
from records.compact import compact_round
from records.features import arrow_schema
from records.rows import Pair
from tests.generator.toy import CONSTITUTION
from tests.loop.in_process import Command, in_process
from tests.loop.toy_export import stored, write_run


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    with in_process(monkeypatch, capsys, "audit") as run:
        yield run


def write_planted(folder: Path, seed: int = 7, principles: int = 12) -> World:
    """A run of one round, compacted, whose constitution has planted faults."""
    from pyarrow import parquet

    world = build_world(seed, principles=principles)
    table = rows(world, 400)
    (folder / "round_00" / "rejects").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"rounds": 1}))
    dumped = world.constitution.model_dump(mode="json")
    (folder / "constitution.yaml").write_text(yaml.safe_dump(dumped, sort_keys=False))
    parquet.write_table(table, folder / "round_00" / "rejects" / "part-00000.parquet")
    return world


def test_a_run_is_audited_from_its_folder_alone(tmp_path, audit):
    world = write_planted(tmp_path / "run")
    status, said = audit(str(tmp_path / "run"))
    assert status == 0, said
    told = json.loads((tmp_path / "run" / "audit.json").read_text())
    found = {(finding["kind"], frozenset(finding["principles"])) for finding in told["findings"]}
    assert found >= {fault for fault in world.truth if fault[0] in ("rubber_stamp", "redundant", "unfixable", "dead")}
    text = (tmp_path / "run" / "audit.md").read_text()
    for finding in told["findings"]:
        assert finding["words"] in said
        assert finding["principles"][0] in text
        for evidence in finding["evidence"]:
            assert evidence["p_adjusted"] <= told["tests"]["false_findings"] and evidence["n"] > 0
    assert (tmp_path / "run" / "audit.png").read_bytes().startswith(b"\x89PNG")
    assert "is a rubber stamp" in said and "Rubber stamps are left out of both" in text


def test_the_same_rows_give_the_same_audit(tmp_path, audit):
    write_planted(tmp_path / "run")
    for name in ("one", "two"):
        assert audit(str(tmp_path / "run"), "-o", str(tmp_path / name))[0] == 0
    assert (tmp_path / "one" / "audit.json").read_bytes() == (tmp_path / "two" / "audit.json").read_bytes()
    assert not (tmp_path / "run" / "audit.json").exists()


def test_rounds_are_chosen_and_lines_and_parquet_read_alike(tmp_path, audit):
    run = write_run(tmp_path / "outputs" / "toy", rounds=2, compacted=False)
    tables = {}
    for rounds in ("0", "0,1"):
        status, said = audit("toy", "--outputs", str(tmp_path / "outputs"), "--rounds", rounds)
        assert status == 0, said
        tables[rounds] = json.loads((run / "audit.json").read_text())
    assert tables["0"]["counted"]["rounds"] == [0] and tables["0,1"]["counted"]["rounds"] == [0, 1]
    assert tables["0"]["counted"]["pairs"] == len(stored(run, 0))
    for index in (0, 1):
        compact_round(run / f"round_{index:02d}")
    assert audit(str(run))[0] == 0
    assert json.loads((run / "audit.json").read_text()) == tables["0,1"]


def test_people_are_held_against_the_critic(tmp_path, audit):
    run = write_run(tmp_path / "toy", rounds=1)
    pairs = stored(run, 0)
    labels = [{"id": pair.id, "principle": "polite", "violates": number > 0} for number, pair in enumerate(pairs)]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))
    assert audit(str(run), "--labels", str(tmp_path / "labels.jsonl"))[0] == 0
    told = json.loads((run / "audit.json").read_text())
    polite = next(one for one in told["principles"] if one["id"] == "polite")["critic"]
    assert told["labels"] == len(pairs) and polite["held_against"] == {"check": 0, "person": len(pairs)}
    assert (polite["both"], polite["only_critic"]) == (len(pairs) - 1, 1)


def test_labels_that_cannot_be_read_are_named_all_at_once(tmp_path, audit):
    run = write_run(tmp_path / "toy", rounds=1)
    lines = [
        '{"id": "a", "principle": "polite", "violates": "yes"}',
        "no",
        '{"id": "a", "principle": "p", "violates": true}',
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    status, said = audit(str(run), "--labels", str(tmp_path / "labels.jsonl"))
    assert status == 2 and all(f"line {number}" in said for number in (1, 2, 3))
    assert not (run / "audit.json").exists()
    status, said = audit(str(run), "--labels", str(tmp_path / "absent.jsonl"))
    assert status == 2 and "absent.jsonl" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), "no config.json; expected the folder of a run"), (("--rounds", "x"), "expected round numbers such as 0,1")],
)
def test_what_is_no_run_is_said_so(tmp_path, audit, arguments, words):
    status, said = audit(str(tmp_path), *arguments)
    assert status == 2 and words in said and "Traceback" not in said


def test_a_round_without_rows_is_said_so(tmp_path, audit):
    run = write_run(tmp_path / "toy", rounds=1)
    status, said = audit(str(run), "--rounds", "0,4")
    assert status == 2 and "--rounds 4: no rows; rounds with pairs or rejects: 0" in said


def test_a_damaged_shard_is_named(tmp_path, audit):
    run = write_run(tmp_path / "toy", rounds=1, compacted=False)
    shard = run / "round_00" / "pairs" / "part-00000.jsonl"
    shard.write_text("{}\n" + shard.read_text())
    status, said = audit(str(run))
    assert status == 2 and str(shard) in said


def test_a_constitution_that_changed_since_is_refused(tmp_path, audit):
    run = write_run(tmp_path / "toy", rounds=1)
    dumped = CONSTITUTION.model_dump(mode="json")
    dumped["principles"][0]["text"] = "Another norm."
    (run / "constitution.yaml").write_text(yaml.safe_dump(dumped, sort_keys=False))
    status, said = audit(str(run))
    assert status == 2 and "digest" in said


def test_hostile_words_stay_words(tmp_path, audit):
    run = write_run(tmp_path / "to|y <b>", rounds=1)
    assert audit(str(run))[0] == 0
    told = json.loads((run / "audit.json").read_text())
    told["constitution"]["name"] = "a <script>| `b`"
    text = audit_text(told)
    assert "<script>" not in text and "<b>" not in text


def test_the_picture_takes_many_principles_and_odd_names(tmp_path):
    rate = {"rate": 0.5, "ci": [0.4, 0.6], "n": 9, "prompts": 9}
    names = [f"${number}-{'x' * 60}" for number in range(MOST + 5)]
    principles = [{"id": name, "violated": rate, "fixed": rate, "looks_fixed": None} for name in names]
    principles += [{"id": "silent", "violated": None, "fixed": None, "looks_fixed": None}]
    told = {"run": "$a_b$ $", "findings": [], "principles": principles, "counted": {"chains": 1, "prompts": 1}}
    draw_audit(told, tmp_path / "audit.png")
    draw_audit(told | {"principles": principles[-1:]}, tmp_path / "one.png")
    assert (tmp_path / "audit.png").stat().st_size > (tmp_path / "one.png").stat().st_size > 1000


def test_the_columns_that_an_audit_reads_are_those_of_rows():
    from evaluation.audit.rows import row_schema

    known = arrow_schema(Pair)
    assert all(known.field(field.name).type == field.type for field in row_schema() if field.name != "reason")
