"""Principles drawn by weight without replacement, the same on every machine and in every order."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from constitution.schema import Constitution, Principle
from generator.principles import draw_principles, few_shot_turns
from tests.generator.toy import CONSTITUTION

WEIGHTS = {"a": 4.0, "b": 2.0, "c": 1.0, "d": 1.0}


def constitution(names="abcd"):
    principles = tuple(Principle(id=name, text=f"Rule {name}.", weight=WEIGHTS[name]) for name in names)
    return Constitution(name="toy", principles=principles, templates=CONSTITUTION.templates)


def drawn(draw, *, seed=0, round=0, prompt_id="p", index=0, among=None):
    found = draw_principles(among or constitution(), draw, seed=seed, round=round, prompt_id=prompt_id, index=index)
    return tuple(principle.id for principle in found)


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
