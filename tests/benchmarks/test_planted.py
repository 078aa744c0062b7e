"""Pairs under a wrong critic: the closed form holds against every way through the real chain, and trials against it."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections import defaultdict

import pytest

from benchmarks.planted import BARS, PRECISION, measure
from benchmarks.planted_form import Case, expected
from benchmarks.planted_world import chains, seeded
from generator.decide import decide_draft, decide_final
from records.rows import Verdict
from tests.tracked import ROOT

KINDS = ("independent", "persistent", "persistent_other_verifier")
PAIRS = ("right", "accused", "broken")


class EveryWay:
    """A chance that takes all its ways in turn, each with its probability; certain things have one way."""

    def __init__(self) -> None:
        self.path: list[tuple[bool, float]] = []
        self.taken = 0

    def __call__(self, probability: float) -> bool:
        if probability in (0.0, 1.0):
            return probability == 1.0
        if self.taken == len(self.path):
            self.path.append((True, probability))
        happens, _ = self.path[self.taken]
        self.taken += 1
        return happens

    def weight(self) -> float:
        found = 1.0
        for happens, probability in self.path:
            found *= probability if happens else 1 - probability
        return found

    def turn(self) -> bool:
        """To the next way, if there is one."""
        assert self.taken == len(self.path)
        while self.path and not self.path[-1][0]:
            self.path.pop()
        if self.path:
            self.path[-1] = (False, self.path[-1][1])
        self.taken = 0
        return bool(self.path)


def every_outcome(case: Case) -> dict[str, float]:
    """What the real chain comes to over all ways of drafts, rewrites and errors, each with its probability."""

    async def walk() -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        way = EveryWay()
        while True:
            (outcome,) = await chains(case, 1, way)
            found[outcome] += way.weight()
            if not way.turn():
                return found

    return asyncio.run(walk())


@pytest.mark.parametrize("errors", KINDS)
@pytest.mark.parametrize(("principles", "asks"), [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)])
def test_the_closed_form_is_the_sum_over_every_way_through_the_real_chain(errors, principles, asks):
    case = Case(principles, 0.15, asks, errors, faulty=0.6, mends=0.85, breaks=0.3)
    found = every_outcome(case)
    assert sum(found.values()) == pytest.approx(1)
    pairs = sum(found[kind] for kind in PAIRS)
    assert expected(case).pairs == pytest.approx(pairs, rel=1e-9)
    assert expected(case).precision == pytest.approx(found["right"] / pairs, rel=1e-9)
    assert min(found["right"], found["accused"], found["broken"]) > 0


@pytest.mark.parametrize("errors", KINDS)
def test_the_same_where_the_draft_is_asked_about_more_often_than_the_final_text(errors):
    case = Case(1, 0.15, 1, errors, faulty=0.6, mends=0.85, draft_asks=3)
    found = every_outcome(case)
    pairs = sum(found[kind] for kind in PAIRS)
    assert (expected(case).pairs, expected(case).precision) == pytest.approx((pairs, found["right"] / pairs))
    more = Case(20, 0.05, 2, faulty=0.5, draft_asks=3)
    assert expected(more).precision > 0.99 and expected(more).pairs > 2 * expected(Case(20, 0.05, 3, faulty=0.5)).pairs


def test_the_formula_of_one_principle_is_what_the_rules_of_deciding_come_to():
    """By enumeration of truth, mending and every answer; only generator/decide.py says what becomes of them."""
    p, m, e, n = 0.7, 0.8, 0.1, 2

    def verdicts(broken, errs):
        said = ["violates" if broken != wrong else "complies" for wrong in errs]
        return [Verdict(principle="rule", verdict=one, severity=1, critique="") for one in said]

    kept = right = 0.0
    errors = list(itertools.product((False, True), repeat=n))
    for broken, mended, before, after in itertools.product((False, True), (False, True), errors, errors):
        weight = (p if broken else 1 - p) * (m if mended else 1 - m)
        for wrong in (*before, *after):
            weight *= e if wrong else 1 - e
        draft = verdicts(broken, before)
        if decide_draft(draft).violated and not decide_final(draft, verdicts(broken and not mended, after)).reason:
            kept += weight
            right += weight * (broken and mended)
    formula_right = p * (1 - e) ** n * m * (1 - e) ** n
    formula_kept = formula_right + p * (1 - e) ** n * (1 - m) * e**n + (1 - p) * e**n * (1 - e) ** n
    assert (right, kept) == (pytest.approx(formula_right), pytest.approx(formula_kept))
    found = expected(Case(1, e, n, faulty=p, mends=m))
    assert (found.precision, found.pairs) == (pytest.approx(right / kept), pytest.approx(kept))


@pytest.mark.parametrize(("principles", "error"), BARS)
def test_the_bars_are_reached_by_the_closed_form_and_trials_agree(principles, error):
    case = Case(principles, error, 2)
    assert expected(case).precision >= PRECISION
    found = measure(case, 600, seed=1)
    for figure in ("precision", "yield"):
        low, high = found[figure]["interval"]
        # Three standard deviations and not two: another order of the chain's questions draws other trials.
        slack = (high - low) / 4
        assert low - slack <= found[figure]["closed"] <= high + slack, found
    assert found["wrong"]["accused"] + found["wrong"]["broken"] < 0.03 * found["chains"]


def test_asking_again_helps_against_errors_made_anew_and_not_against_those_that_persist():
    by_kind = {kind: [expected(Case(4, 0.1, asks, kind)).precision for asks in (1, 2, 3)] for kind in KINDS}
    once, twice, thrice = by_kind["independent"]
    assert once < 0.9 < twice < thrice
    assert len(set(by_kind["persistent"])) == 1
    assert by_kind["persistent_other_verifier"][1] > by_kind["persistent"][1] + 0.05
    once, again = (every_outcome(Case(1, 0.2, asks, "persistent")) for asks in (1, 3))
    assert once == pytest.approx(again)


def test_a_critic_without_error_makes_right_pairs_alone():
    case = Case(4, 0.0, 1, breaks=0.5)
    found = asyncio.run(chains(case, 200, seeded(3)))
    assert "right" in found and not {"accused", "broken"} & set(found)
    assert expected(case).precision == pytest.approx(1)


def test_it_prints_tables_and_one_json_object(tmp_path):
    command = [sys.executable, "benchmarks/planted.py", "--chains", "4", "--bar-chains", "40"]
    done = subprocess.run(
        [*command, "--picture", str(tmp_path / "planted.png")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "independent, 20 principles:" in done.stdout
    told = json.loads(done.stdout.splitlines()[-1])
    cell = told["precision"]["persistent"]["4"]["0.1"]["3"]
    assert set(cell) == {"measured", "interval", "closed"}
    assert told["yield"]["independent"]["20"]["0.3"]["2"]["closed"] < 0.001
    assert [(bar["principles"], bar["error"], bar["asks"]) for bar in told["bars"]] == [(1, 0.1, 2), (4, 0.05, 2)]
    assert {"reached", "reached_from_faulty", "yield_off_closed", "other_faulty", "with_draft_asks_3"} <= set(
        told["bars"][0]
    )
    assert told["needed"]["0.05"]["1"]["0.1"]["asks"] > told["needed"]["0.8"]["1"]["0.1"]["asks"] == 2
    assert (tmp_path / "planted.png").read_bytes().startswith(b"\x89PNG")
