"""Faults that were planted are found, and nothing else is; in a clean constitution nothing is found at all."""

from __future__ import annotations

import pytest

from benchmarks.simulated.planted import FAULTS, World, build_world, rows
from evaluation.audit.audit import audit
from evaluation.audit.facts import Facts


def found_in(world: World, **drawn) -> set[tuple[str, frozenset[str]]]:
    facts = Facts(world.constitution)
    facts.add(rows(world, **drawn))
    facts.finish()
    told = audit(facts)
    facts.close()
    return {(finding["kind"], frozenset(finding["principles"])) for finding in told["findings"]}


def wrong_planted(seeds: range, **nature: float) -> list[str]:
    """Of 500 drafts each, every second asked about twice; what was missed, and what found that was not planted."""
    told = []
    for seed in seeds:
        world = build_world(seed, **nature)
        found = found_in(world, prompts=500, asks=1 + seed % 2)
        for words, difference in (("missed", world.truth - found), ("not planted", found - world.truth)):
            told += [f"{seed}: {words}: {kind} {sorted(ids)}" for kind, ids in difference]
    return told


def false_alarms(seeds: range, **nature: float) -> list[int]:
    return [seed for seed in seeds if found_in(build_world(seed, faults=(), **nature), prompts=500, asks=1 + seed % 2)]


ROUGH = {"uneven": 1.3, "breaks": 0.01}
"""Some prompts get drafts that break half of everything, others hardly any; the many rewrites of the former break other
principles in a fifth of the chains. Nothing of it is a conflict between two principles."""


def seeds_of(told: list[str]) -> set[str]:
    return {line.partition(":")[0] for line in told}


def test_planted_faults_are_found_and_nothing_else():
    told = wrong_planted(range(2000, 2004))
    assert not told


def test_a_clean_constitution_raises_no_alarm():
    assert not false_alarms(range(3000, 3003))


def test_where_hard_prompts_make_everything_go_together_nothing_is_made_of_it():
    assert not false_alarms(range(3300, 3302), **ROUGH)
    assert not wrong_planted(range(2300, 2302), **ROUGH)


@pytest.mark.soak
def test_of_twenty_rough_worlds_planted_or_clean_nineteen_are_told_exactly():
    told = wrong_planted(range(2300, 2320), **ROUGH)
    assert len(seeds_of(told)) <= 1, "\n".join(told)
    assert len(false_alarms(range(3300, 3320), **ROUGH)) <= 1


@pytest.mark.soak
def test_of_twenty_planted_constitutions_nineteen_are_told_exactly():
    told = wrong_planted(range(2000, 2020))
    assert len(seeds_of(told)) <= 1, "\n".join(told)


@pytest.mark.soak
def test_of_a_hundred_clean_constitutions_at_most_five_raise_an_alarm():
    alarms = false_alarms(range(3000, 3100))
    assert len(alarms) <= 5, alarms


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_is_hardly_there_is_no_finding(fault, monkeypatch):
    """The same plants at sizes that are no fault: what is found comes of their size, not of being planted."""
    harmless = {
        "redundant": (0.6, 0.7), "conflict": (0.0, 0.05), "dead": (0.1, 0.2), "rubber_stamp": (0.5, 0.7),
        "unfixable": (0.6, 0.7), "refusals": (0.0, 0.05), "length": (1.0, 1.08), "critic_unreliable": (0.85, 0.9),
    }  # fmt: skip
    monkeypatch.setattr("benchmarks.simulated.planted._SIZES", harmless)
    world = build_world(4000, principles=9, faults=(fault,))
    kinds = {kind for kind, _ in found_in(world, prompts=500)}
    assert fault not in kinds


def test_a_handful_of_drafts_finds_nothing_and_says_how_little_it_tested():
    world = build_world(5000)
    facts = Facts(world.constitution)
    facts.add(rows(world, prompts=12))
    facts.finish()
    told = audit(facts)
    assert {finding["kind"] for finding in told["findings"]} <= {"rubber_stamp", "critic_unreliable", "unfixable"}
    assert told["tests"]["too_few_cases"] > told["tests"]["made"]


def test_drafts_of_the_same_prompts_say_less():
    """Ten drafts each of fifteen prompts: what is true of fifteen prompts may be true of no others."""
    many, few = (found_in(build_world(6000, principles=12), prompts=n, drafts=150 // n) for n in (150, 15))
    assert len(few) < len(many)


def test_with_no_rows_there_is_nothing_to_find():
    facts = Facts(build_world(1, principles=3, faults=()).constitution)
    facts.finish()
    told = audit(facts)
    assert told["findings"] == [] and told["counted"]["chains"] == 0 and told["coverage"]["prompts"] == 0
    assert told["principles"][0]["violated"] is None and told["subset"]["principles"] == []
