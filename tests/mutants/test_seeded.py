"""The list of mutants cannot rot: each still has its place in the code, and its tests still exist."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.seeded import MUTANTS
from tests.tracked import ROOT

# What the list must hold, each by words of a mutant's name.
WANTED = [
    "chosen and rejected swapped",
    "verification skipped",
    "unparsed read as complies",
    "the previous adapter drafts",
    "the last partial batch dropped",
    "completion mask off by one",
    "reference = policy",
    "a validation prompt in train",
    "a truncated draft kept",
    "a row written twice on resume",
    "wrong sign of beta",
    "the judge is asked in one order",
    "the probability of B",
    "an unreadable rating",
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_has_its_place_and_its_tests(mutant):
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1
    ast.parse(source.replace(mutant.old, mutant.new))
    for test in mutant.tests:
        path, _, name = test.partition("::")
        functions = {
            node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)
        }
        assert not name or name in functions


def test_every_bug_worth_fearing_is_seeded():
    assert [wanted for wanted in WANTED if not any(wanted in mutant.name for mutant in MUTANTS)] == []
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
