"""Principles drawn by weight without replacement, the same on every machine and in every order."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from constitution.schema import Constitution, Principle
from generator.principles import draw_passes, few_shot_turns, passes_of
from tests.generator.toy import CONSTITUTION, method_of, prompt, provenance, script

WEIGHTS = {"a": 4.0, "b": 2.0, "c": 1.0, "d": 1.0}


def constitution(names="abcd"):
    principles = tuple(Principle(id=name, text=f"Rule {name}.", weight=WEIGHTS[name]) for name in names)
    return Constitution(name="toy", principles=principles, templates=CONSTITUTION.templates)


def drawn(draw, *, seed=0, round=0, prompt_id="p", index=0, among=None):
    method = method_of(
        script(), constitution=among or constitution(), draw=draw, seed=seed, provenance=provenance(round=round)
    )
    (found,) = passes_of(prompt(id=prompt_id), method, index)
    return tuple(principle.id for principle in found)


def passes(draw, number, *, seed=0):
    return ["".join(one.id for one in found) for found in draw_passes(constitution(), draw, [seed], number)]


def test_no_principle_comes_twice_before_all_had_their_turn():
    for seed in range(50):
        first, second, third, fourth = passes(2, 4, seed=seed)
        assert sorted(first + second) == sorted(third + fourth) == list("abcd")
        assert passes(2, 3, seed=seed) == [first, second, third]
        assert passes(2, 1, seed=seed) == [first]
        three = passes(3, 3, seed=seed)
        assert [len(found) for found in three] == [3, 1, 3] and sorted(three[0] + three[1]) == list("abcd")
    assert len({tuple(passes(2, 4, seed=seed)) for seed in range(50)}) > 10
    assert any(found[:2] != found[2:] for found in (passes(2, 4, seed=seed) for seed in range(9)))
    assert passes(None, 3) == passes(4, 3) == ["abcd"] * 3


def test_all_or_so_many_without_replacement_in_the_constitutions_order():
    assert drawn(None) == drawn(4) == drawn(9) == tuple("abcd")
    for number in range(200):
        found = drawn(2, prompt_id=str(number))
        assert len(set(found)) == 2 and list(found) == sorted(found)


def test_chances_follow_the_weights():
    n = 8000
    one = Counter(drawn(1, prompt_id=str(number))[0] for number in range(n))
    for name, weight in WEIGHTS.items():
        assert one[name] / n == pytest.approx(weight / 8, abs=0.02)
    # The second place is drawn from what is left: P(d in two) = 1/8 + 4/8*1/4 + 2/8*1/6 + 1/8*1/7.
    two = Counter(name for number in range(n) for name in drawn(2, prompt_id=f"x{number}"))
    assert two["d"] / n == pytest.approx(1 / 8 + 1 / 8 + 1 / 24 + 1 / 56, abs=0.02)


def test_the_draw_depends_on_seed_round_and_prompt_and_on_nothing_else():
    prompts = [str(number) for number in range(100)]
    first = {id: drawn(2, prompt_id=id) for id in prompts}
    random.shuffle(prompts)
    random.seed(1)
    assert {id: drawn(2, prompt_id=id) for id in prompts} == first
    assert {id: drawn(2, prompt_id=id, seed=1) for id in prompts} != first
    assert {id: drawn(2, prompt_id=id, round=1) for id in prompts} != first
    assert {id: drawn(2, prompt_id=id, index=1) for id in prompts} != first
    shuffled = {id: set(drawn(2, prompt_id=id, among=constitution("dcba"))) for id in prompts}
    changed = sum(shuffled[id] != set(first[id]) for id in prompts)
    assert changed > 0, "the order of principles is part of the constitution"


def test_few_shots_alternate_and_hold_whole_conversations():
    turns = few_shot_turns(CONSTITUTION, 2)
    assert [turn.role for turn in turns] == ["user", "assistant"] * 3
    assert '"verdict":"violates"' in turns[1].content and turns[3].content == "Gladly."
    assert '"verdict":"complies"' in turns[5].content
    assert "Hello." in turns[0].content
    assert few_shot_turns(CONSTITUTION, 0) == ()
    assert len(few_shot_turns(CONSTITUTION, 99)) == 6
