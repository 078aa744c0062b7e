"""The table of verdicts holds what the rows hold: each once, on the text that it is about, in either form on disk."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from constitution.schema import Check, Constitution
from evaluation.audit.audit import audit
from evaluation.audit.facts import read_facts
from evaluation.audit.texts import refuses
from records.compact import compact_round
from records.errors import DataError
from records.rows import Pair, Reject
from records.shard import DamagedShardError
from records.store import row_line
from tests.generator.toy import CONSTITUTION, DRAFT_TEXT, FINAL_TEXT, outcome_of, prompt, provenance, script, verdict_on
from tests.loop.toy_export import outcomes, write_rows, write_run


def facts_of(*rows: Pair | Reject, folder: Path, constitution: Constitution = CONSTITUTION, **settings) -> list[dict]:
    write_rows(folder, list(rows))
    return read_facts([folder], constitution, **settings).table().to_pylist()


def answers(facts: list[dict], kind: str) -> dict[str, list[str]]:
    """Verdicts by principle, in the order of asking."""
    found: dict[str, list[str]] = {}
    for fact in sorted(facts, key=lambda fact: (fact["text"], fact["ask"])):
        if fact["kind"] == kind:
            found.setdefault(fact["principle"], []).append(fact["verdict"])
    return found


def test_every_verdict_of_a_run_is_there_once_in_either_form(tmp_path):
    run, rows = write_run(tmp_path / "run", rounds=2, compacted=False), [*outcomes(0), *outcomes(1)]
    wanted = Counter(
        (kind, verdict.principle, verdict.verdict)
        for row in rows
        for kind, verdicts in (("draft", row.draft_verdicts), ("verification", row.final_verdicts))
        for verdict in verdicts
    )
    tables = []
    for compacted in (False, True):
        if compacted:
            for index in (0, 1):
                compact_round(run / f"round_{index:02d}")
        tables.append(read_facts([run / "round_00", run / "round_01"], CONSTITUTION).table().to_pylist())
    assert tables[0] == tables[1]
    counted = Counter((fact["kind"], fact["principle"], fact["verdict"]) for fact in tables[0])
    assert {key: n for key, n in counted.items() if key[0] != "recheck"} == wanted
    rechecks = [entry for row in rows for entry in row.trail if entry.kind == "recheck"]
    # A reply that could not be read was drawn again at once; only the last word counts.
    assert 0 < sum(fact["kind"] == "recheck" for fact in tables[0]) < len(rechecks)


def test_a_verdict_knows_its_text_and_what_followed(tmp_path):
    """Politeness is mended first; kindness then is found broken still, and mended too; modesty is found mended."""
    halfway = "Boil it, and surely kick the cat."

    def critic(principle, request, verifying, before):
        if halfway in request:
            return "violates" if principle == "kind" else "complies"
        return "violates" if DRAFT_TEXT in request else "complies"

    def revise(principle, request, before):
        return f"  {halfway}\n" if principle == "polite" else FINAL_TEXT

    row = outcome_of(script(critic=critic, revise=revise))
    facts = facts_of(row, folder=tmp_path)
    drafts = {fact["principle"]: fact for fact in facts if fact["kind"] == "draft"}
    assert {name: fact["revised"] for name, fact in drafts.items()} == {"polite": True, "modest": False, "kind": True}
    assert all(fact["chars"] == len(DRAFT_TEXT) and fact["severity"] == 2 for fact in drafts.values())
    rechecks = {fact["principle"]: fact for fact in facts if fact["kind"] == "recheck"}
    assert {name: (fact["text"], fact["verdict"], fact["revised"]) for name, fact in rechecks.items()} == {
        "modest": (1, "complies", False),
        "kind": (1, "violates", True),
    }
    assert rechecks["kind"]["chars"] == len(halfway)
    finals = [fact for fact in facts if fact["kind"] == "verification"]
    assert {(fact["text"], fact["chars"], fact["revised"]) for fact in finals} == {(2, len(FINAL_TEXT), False)}


def test_several_questions_are_numbered(tmp_path):
    again = verdict_on(final={"kind": "complies"})

    def critic(principle, request, verifying, before):
        shaken = principle == "modest" and verifying and DRAFT_TEXT in request
        return "complies" if shaken else again(principle, request, verifying, before)

    facts = facts_of(outcome_of(script(critic=critic), asks=3), folder=tmp_path)
    assert answers(facts, "draft") == {
        "polite": ["violates"] * 3,
        "modest": ["violates", "complies", "complies"],
        "kind": ["violates"] * 3,
    }
    assert answers(facts, "verification") == {name: ["complies"] * 3 for name in ("polite", "modest", "kind")}
    assert {fact["ask"] for fact in facts if fact["kind"] == "draft"} == {0, 1, 2}


def test_of_a_group_each_draft_is_a_text(tmp_path):
    drafts = [DRAFT_TEXT, FINAL_TEXT, "Boil it, fool."]
    row = outcome_of(script(draft=drafts), strategy="best_of_n", drafts=3)
    assert isinstance(row, Pair), row
    facts = facts_of(row, folder=tmp_path)
    assert {fact["text"]: fact["chars"] for fact in facts if fact["kind"] == "draft"} == {
        number: len(text) for number, text in enumerate(drafts)
    }
    finals = {(fact["text"], fact["chars"]) for fact in facts if fact["kind"] == "verification"}
    assert finals == {(1, len(FINAL_TEXT))}
    assert not any(fact["revised"] for fact in facts)


def test_what_was_drawn_is_known_beside_what_was_verified(tmp_path):
    facts = facts_of(outcome_of(script(), draw=1, verify_all=True), folder=tmp_path)
    drawn = {fact["principle"] for fact in facts if fact["drawn"]}
    assert len(drawn) == 1 and {fact["principle"] for fact in facts} == {"polite", "modest", "kind"}


def test_exact_checks_look_at_every_text_and_people_count_before_them(tmp_path):
    checks = {"polite": Check(forbid=("fool",)), "kind": Check(forbid=("kick",), if_prompt=("egg",))}
    norms = CONSTITUTION.model_copy(
        update={
            "principles": tuple(one.model_copy(update={"check": checks.get(one.id)}) for one in CONSTITUTION.principles)
        }
    )
    made = {"provenance": provenance(constitution_digest=norms.digest)}
    egg, rice = (
        outcome_of(script(), prompt("How do I boil an egg?"), **made),
        outcome_of(script(), prompt("Rice?"), **made),
    )
    facts = facts_of(egg, rice, folder=tmp_path, constitution=norms, labels=[(egg.id, "polite", False)])
    ids = {egg.prompt_id: "egg", rice.prompt_id: "rice"}
    order = {number: ids[id] for number, id in enumerate(sorted(ids))}
    found = {
        (order[fact["prompt"]], fact["principle"], fact["kind"]): (fact["truth"], fact["truth_by"])
        for fact in facts
        if fact["kind"] != "recheck" and fact["principle"] != "modest"
    }
    assert found == {
        ("egg", "polite", "draft"): ("complies", "person"),
        ("egg", "polite", "verification"): ("complies", "check"),
        ("egg", "kind", "draft"): ("violates", "check"),
        ("egg", "kind", "verification"): ("complies", "check"),
        ("rice", "polite", "draft"): ("violates", "check"),
        ("rice", "polite", "verification"): ("complies", "check"),
        ("rice", "kind", "draft"): ("not_applicable", "check"),
        ("rice", "kind", "verification"): ("not_applicable", "check"),
    }
    assert all(fact["truth"] is None for fact in facts if fact["principle"] == "modest")


def test_an_id_in_both_folders_is_a_reject(tmp_path):
    pair = outcome_of(script())
    write_rows(tmp_path, [pair])
    columns = pair.model_dump(exclude={"chosen", "rejected"})
    reject = Reject(**columns, reason="duplicate", final=FINAL_TEXT)
    (tmp_path / "rejects" / "part-00000.jsonl").write_bytes(row_line(reject))
    facts = read_facts([tmp_path], CONSTITUTION)
    assert facts.query("SELECT reason FROM chains")[0].tolist() == ["duplicate"]
    assert facts.table().num_rows == len(pair.draft_verdicts) + len(pair.final_verdicts) + 2


def test_a_torn_last_line_is_passed_over_and_a_lone_surrogate_read(tmp_path):
    write_rows(tmp_path, [outcome_of(script())])
    path = tmp_path / "pairs" / "part-00000.jsonl"
    row = json.loads(path.read_text())
    row["draft"]["text"] = f"{DRAFT_TEXT} \udfff"
    path.write_bytes(json.dumps(row).encode() + b"\n" + row_line(outcome_of(script(), prompt("Torn?")))[:100])
    facts = read_facts([tmp_path], CONSTITUTION).table().to_pylist()
    assert {fact["chars"] for fact in facts if fact["kind"] == "draft"} == {len(DRAFT_TEXT) + 2}


def test_rows_of_an_earlier_release_lack_columns(tmp_path):
    row = json.loads(row_line(outcome_of(script())))
    for name in ("benign", "group", "candidates", "strategy", "judgements", "preference_probability"):
        row.pop(name)
    for entry in row["trail"]:
        entry.pop("candidate")
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "part-00000.jsonl").write_text(json.dumps(row) + "\n")
    assert len(read_facts([tmp_path], CONSTITUTION).table()) == 8


@pytest.mark.parametrize(
    "line", ['{"id": 3', '{"id": "a", "draft": 7}', '{"id": "a", "trail": [{"kind": []}]}', "[1]", '{"id": "a"}']
)
def test_what_is_no_row_names_its_shard(tmp_path, line):
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "part-00000.jsonl").write_text(line + "\n")
    with pytest.raises((DamagedShardError, DataError), match=r"pairs/part-00000\.jsonl"):
        read_facts([tmp_path], CONSTITUTION)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row["draft_verdicts"][0].update(verdict="perhaps"),
        lambda row: row["final_verdicts"][0].update(verdict=None),
        lambda row: row["draft_verdicts"][0].update(severity=1000),
        lambda row: row["provenance"].update(round=None),
        lambda row: row["provenance"].update(constitution_digest=None),
        lambda row: row.update(prompt_id=None),
    ],
)
def test_a_row_that_nobody_wrote_names_its_shard(tmp_path, change):
    row = json.loads(row_line(outcome_of(script())))
    change(row)
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "part-00000.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DamagedShardError, match=r"pairs/part-00000\.jsonl"):
        read_facts([tmp_path], CONSTITUTION)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.update(trail=None, candidates=None, final_verdicts=None),
        lambda row: row["trail"][4].update(text=None, principle=None),
        lambda row: row.update(draft=None, prompt=[]),
        lambda row: row["draft_verdicts"].insert(0, None),
        lambda row: row["draft_verdicts"][0].update(principle="'); DROP TABLE facts; --"),
        lambda row: row.update(prompt_id="'; DROP TABLE chains; --", group="\x00", reason="odd"),
    ],
)
def test_a_row_with_holes_is_counted_as_far_as_it_goes(tmp_path, change):
    row = json.loads(row_line(outcome_of(script())))
    change(row)
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "part-00000.jsonl").write_text(json.dumps(row) + "\n")
    told = audit(read_facts([tmp_path], CONSTITUTION))
    assert told["counted"]["chains"] == 1 and 2 <= told["counted"]["verdicts"] <= 8
    json.dumps(told, allow_nan=False)


def test_rows_of_another_constitution_are_refused(tmp_path):
    other = outcome_of(script(), provenance=provenance(constitution_digest="f" * 64))
    with pytest.raises(DataError, match=r"1 rows of digest ffffffffffff; expected 'toy'"):
        facts_of(other, outcome_of(script(), prompt("Mine?")), folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("I can't help you steal the flute, because it belongs to someone else.", True),
        ("I’m not able to do that.", True),
        ("We cannot assist with this.", True),
        ("I am sorry, but I won't write it.", True),
        ("That is not something I can help with.", True),
        ("You cannot boil it for longer than ten minutes.", False),
        ("Gladly. " * 100 + "I cannot help.", False),
        ("", False),
    ],
)
def test_refusals_are_told_by_their_first_words(text, wanted):
    assert refuses(text) == wanted
