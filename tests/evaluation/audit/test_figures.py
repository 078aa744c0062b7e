"""The figures against plain loops over the same rows, and what each counts on chains made by hand."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.simulated.planted import build_world, rows
from evaluation.audit.across import SUBSET_KEEPS, conflicts, coverage, redundancies, smallest_subset, told_redundancies
from evaluation.audit.audit import audit
from evaluation.audit.counts import Counts
from evaluation.audit.facts import Facts, read_facts
from evaluation.audit.texts import refuses
from records.rows import Pair, Reject
from tests.generator.toy import CONSTITUTION, DRAFT_TEXT, outcome_of, prompt, script, verdict_on
from tests.loop.toy_export import write_rows


@pytest.fixture(scope="module")
def planted() -> tuple[list[dict[str, Any]], Counts]:
    world = build_world(11, principles=9, faults=("conflict", "rubber_stamp", "refusals"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.simulated.planted._UNPARSED", 0.01)
        table = rows(world, 120, 2, asks=3)
    facts = Facts(world.constitution)
    facts.add(table)
    facts.finish()
    return table.to_pylist(), Counts(facts)


def by_loops(row: dict[str, Any]) -> Counter[tuple[str, str]]:
    """What one chain adds to each count, principle by principle."""
    found: Counter[tuple[str, str]] = Counter()
    drafts, finals = ({} for _ in range(2))
    for verdicts, of in ((row["draft_verdicts"], drafts), (row["final_verdicts"], finals)):
        for verdict in verdicts:
            of.setdefault(verdict["principle"], []).append(verdict["verdict"])
    revised = {entry["principle"] for entry in row["trail"]}
    final_text = row["trail"][-1]["text"] if revised else ""
    lost = {id for id, told in finals.items() if set(told) == {"violates"} and set(drafts[id]) == {"complies"}}
    for id, told in drafts.items():
        first, after = told[0], finals.get(id, [])
        found["asked", id] += 1
        found["unparsed", id] += first == "unparsed"
        found["applicable", id] += first in ("violates", "complies")
        found["violated", id] += first == "violates"
        if len(told) > 1 and told[-1] != "unparsed" and set(told[:-1]) == {"violates"}:
            found["asked_again", id] += 1
            found["looks_fixed", id] += told[-1] == "complies"
        for answers in (told, after):
            read = [answer for answer in answers if answer != "unparsed"]
            found["repeated", id] += len(read) > 1
            found["agreed", id] += len(read) > 1 and len(set(read)) == 1
        if set(told) == {"violates"} and id in revised and after:
            found["tried", id] += 1
            found["fixed", id] += set(after) == {"complies"}
            found["nothing", id] += set(after) == {"violates"}
            found["broke", id] += bool(lost)
            found["refusing", id] += set(after) == {"complies"} and refuses(final_text)
    return found


def test_every_count_is_that_of_a_plain_loop(planted):
    told, counts = planted
    wanted = sum(map(by_loops, told), Counter())
    names = {name for name, _ in wanted}
    assert len(names) == 13 and all(sum(n for (name, _), n in wanted.items() if name == of) for of in names)
    for name in sorted(names):
        found = dict(zip(counts.principles, counts[name].sum(0).tolist(), strict=True))
        assert found == {id: wanted[name, id] for id in counts.principles}, name


def test_counts_lie_with_their_prompt(planted):
    told, counts = planted
    ids = sorted({row["prompt_id"] for row in told})
    for number in (0, 7, len(ids) - 1):
        of = sum((by_loops(row) for row in told if row["prompt_id"] == ids[number]), Counter())
        for name in ("violated", "fixed", "looks_fixed"):
            assert counts[name][number].tolist() == [of[name, id] for id in counts.principles]


def test_conflicts_are_counted_over_chains_that_kept_the_other(planted):
    told, counts = planted
    chains, found = [], conflicts(counts)
    for row in told:
        drafts, finals = {}, {}
        for verdicts, of in ((row["draft_verdicts"], drafts), (row["final_verdicts"], finals)):
            for verdict in verdicts:
                of.setdefault(verdict["principle"], set()).add(verdict["verdict"])
        revised = {entry["principle"] for entry in row["trail"] if drafts[entry["principle"]] == {"violates"}}
        if row["trail"]:
            chains.append((revised, drafts, finals))
    for a, b in ((0, 1), (4, 2), (8, 5)):
        fixed, broken = counts.principles[a], counts.principles[b]
        kept = [
            (fixed in revised, finals[broken] == {"violates"})
            for revised, drafts, finals in chains
            if drafts[broken] == {"complies"} and finals[broken] in ({"violates"}, {"complies"})
        ]
        assert found[b].lost.trials[a] == sum(here for here, _ in kept)
        assert found[b].elsewhere.trials[a] == sum(not here for here, _ in kept)
        lost = counts.revised_chains.lost[:, b] & counts.revised_chains.revised[:, a]
        assert lost.sum() == sum(here and gone for here, gone in kept)


def test_the_audit_is_json_without_holes(planted):
    _, counts = planted
    told = audit_again(counts)
    json.dumps(told, allow_nan=False)
    assert told["counted"]["chains"] == 240 and told["counted"]["prompts"] == 120
    for one in told["principles"]:
        low, high = one["violated"]["ci"]
        assert 0 <= low <= one["violated"]["rate"] <= high <= 1 and one["violated"]["prompts"] <= 120


def audit_again(counts: Counts) -> dict[str, Any]:
    counts.facts.run("DROP TABLE cases")
    return audit(counts.facts)


def audited(folder: Path, *chains: Pair | Reject) -> dict[str, dict[str, Any]]:
    write_rows(folder, list(chains))
    told = audit(read_facts([folder], CONSTITUTION))
    return {one["id"]: one for one in told["principles"]}


def test_a_revision_that_changes_nothing_did_nothing(tmp_path):
    same = outcome_of(script(revise=lambda *_: DRAFT_TEXT))
    assert same.reason == "unchanged"
    polite = audited(tmp_path, same)["polite"]
    assert (polite["fixed"]["rate"], polite["nothing"]["rate"]) == (0, 1)
    assert polite["broke_another"] is None


def test_answers_that_disagree_about_the_final_text_decide_nothing(tmp_path):
    def critic(principle, request, verifying, before):
        return "violates" if DRAFT_TEXT in request else ("complies", "violates")[critic.calls.__next__() % 2]

    critic.calls = iter(range(1000))
    row = outcome_of(script(critic=critic), asks=2)
    polite = audited(tmp_path, row)["polite"]
    assert polite["fixed"] is None and polite["undecided"]["rate"] == 1


def test_what_asking_again_does_is_told_or_said_to_be_unknown(tmp_path):
    once = audited(tmp_path / "once", outcome_of(script()))["polite"]
    assert once["looks_fixed"] is None and once["net_fixed"] is None
    assert "asked about twice" in once["net_fixed_unknown"]
    twice = audited(tmp_path / "twice", outcome_of(script(), asks=2))["polite"]
    assert twice["looks_fixed"]["rate"] == 0 and twice["net_fixed"]["difference"] == 1
    assert twice["net_fixed_unknown"] is None


def test_a_refusal_of_a_harmful_prompt_is_not_held_against_a_principle(tmp_path):
    answer = script(revise=lambda *_: "I cannot help you with that.")
    asked = (("Steal it?", False), ("Boil it?", None), ("Fry it?", True))
    chains = [outcome_of(answer, prompt(text, benign=benign)) for text, benign in asked]
    told = audited(tmp_path, *chains)["polite"]
    assert (told["refusing_fixes"]["rate"], told["refusing_fixes"]["n"]) == (1, 2)
    assert told["fixed"]["n"] == 3 and told["refusals_added"]["prompts"] == 2


def test_coverage_names_the_prompts_that_nothing_touches(tmp_path):
    fine = verdict_on(draft=dict.fromkeys(("polite", "kind"), "complies") | {"modest": "not_applicable"})
    bare = verdict_on(draft=dict.fromkeys(("polite", "kind", "modest"), "complies"))
    chains = [outcome_of(script(critic=critic), prompt(text)) for critic, text in ((fine, "A?"), (bare, "B?"))]
    write_rows(tmp_path, [*chains, outcome_of(script(), prompt("C?"))])
    coverage = audit(read_facts([tmp_path], CONSTITUTION))["coverage"]
    assert coverage["untouched"]["rate"] == pytest.approx(2 / 3) and coverage["none_applies"]["rate"] == 0
    assert coverage["untouched_prompts"] == sorted(chain.prompt_id for chain in chains)


def test_what_a_rubber_stamp_touches_is_not_covered(planted):
    told, counts = planted
    (stamp,) = [n for n, id in enumerate(counts.principles) if counts["violated"][:, n].sum() > 200]
    touched = {
        row["prompt_id"]
        for row in told
        for verdict in row["draft_verdicts"][: len(counts.principles)]
        if verdict["verdict"] == "violates" and verdict["principle"] != counts.principles[stamp]
    }
    assert coverage(counts)["untouched"]["rate"] == 0
    found = coverage(counts, without={stamp})
    assert round(found["untouched"]["rate"] * found["prompts"]) == found["prompts"] - len(touched) > 0


class Stub:
    """Counts of verdicts alone."""

    def __init__(self, violates: np.ndarray) -> None:
        self.principles = tuple(f"p{n}" for n in range(violates.shape[1]))
        self.draft_verdicts = type("Verdicts", (), {"violates": violates})


@pytest.mark.parametrize("seed", range(6))
def test_the_smallest_subset_is_the_smallest(seed):
    source = np.random.default_rng(seed)
    violates = source.random((80, 7)) < source.uniform(0.05, 0.4, 7)
    found = smallest_subset(Stub(violates))
    assert found["exact"] and found["kept"] >= SUBSET_KEEPS
    total = violates.any(1).sum()
    smaller = combinations(range(7), len(found["principles"]) - 1)
    assert all(violates[:, list(some)].any(1).sum() < SUBSET_KEEPS * total for some in smaller)
    assert found["drafts"] == total and found["steps"][-1]["kept"] >= SUBSET_KEEPS


def test_many_principles_are_chosen_greedily_and_it_is_said():
    source = np.random.default_rng(9)
    found = smallest_subset(Stub(source.random((300, 20)) < 0.1))
    assert not found["exact"] and found["method"] == "greedy"
    gains = np.diff([0, *(step["kept"] for step in found["steps"])])
    assert found["kept"] >= SUBSET_KEEPS > found["steps"][-2]["kept"] and (np.diff(gains) <= 1e-9).all()


def test_a_rubber_stamp_is_no_subset():
    violates = np.zeros((40, 3), bool)
    violates[:, 0], violates[:20, 1], violates[20:30, 2] = True, True, True
    assert smallest_subset(Stub(violates))["principles"] == ["p0"]
    found = smallest_subset(Stub(violates), without={0})
    assert found["principles"] == ["p1", "p2"] and found["left_out"] == ["p0"] and found["drafts"] == 30


def test_redundancy_is_told_of_pairs_that_can_be_compared(planted):
    _, counts = planted
    told = told_redundancies(counts, redundancies(counts))
    assert {id for pair in told for id in pair["principles"]} <= set(counts.principles)
    assert [pair["kappa"] for pair in told] == sorted((pair["kappa"] for pair in told), reverse=True)
    assert all(pair["ci"][0] <= pair["kappa"] <= pair["ci"][1] for pair in told)
