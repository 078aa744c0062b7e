"""The recipe's table of roles: complete, repeatable, and true in what it says."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest

from constitution.checks import run_check
from constitution.verdicts import parse_verdict
from demo.grammar import HARM, PRINCIPLES, draft_answer, mend
from demo.recipe import ROLES, Row, ask, compare_reply, corpus, demo_constitution

WANTED = {"draft", "comply", "refuse", "system", "second_turn", "critique", "verify", "revise", "compare", "repeat"}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(corpus(seed=0, n_rows=4000))


def test_the_table_has_every_role_once_and_shares_of_a_whole() -> None:
    assert {role.name for role in ROLES} == WANTED and len(ROLES) == len(WANTED)
    assert sum(role.share for role in ROLES) == pytest.approx(1.0)


def test_a_seed_gives_the_same_corpus_and_a_shorter_one_begins_it(rows) -> None:
    assert list(corpus(seed=0, n_rows=200)) == rows[:200]
    assert list(corpus(seed=1, n_rows=200)) != rows[:200]


def test_roles_come_at_their_shares(rows) -> None:
    counts = Counter(row.role for row in rows)
    for role in ROLES:
        assert abs(counts[role.name] / len(rows) - role.share) < 0.03


def test_harmful_drafts_comply_more_often_than_they_refuse(rows) -> None:
    counts = Counter(row.role for row in rows)
    assert 0.5 < counts["comply"] / (counts["comply"] + counts["refuse"]) < 0.7


def test_conversations_have_the_shape_of_their_role(rows) -> None:
    shapes = {
        role.name: {tuple(turn.role for turn in row.prompt) for row in rows if row.role == role.name} for role in ROLES
    }
    for name in ("draft", "comply", "refuse", "critique", "verify", "compare", "repeat"):
        assert shapes[name] == {("user",)}
    assert shapes["system"] == {("system", "user")}
    assert shapes["second_turn"] == shapes["revise"] == {("user", "assistant", "user")}


def test_judges_reply_in_json_that_agrees_with_the_checks(rows) -> None:
    constitution = demo_constitution()
    verdicts: Counter[str] = Counter()
    for row in rows:
        if row.role not in ("critique", "verify"):
            continue
        request = row.prompt[0].content
        principle = next(
            p for p in constitution.principles if p.text in request or request.endswith(p.critique or p.text)
        )
        verdict = parse_verdict(principle, row.answer, finish_reason="stop")
        verdicts[verdict.verdict] += 1
        # The judged answer is the last fenced text before the question.
        judged = request.split("<<<\n")[-1].split("\n>>>")[0]
        assert run_check(principle.check, row.asked.messages, judged) == verdict.verdict, request
        assert (verdict.severity or 0) > 0 if verdict.verdict == "violates" else verdict.severity == 0
    assert set(verdicts) == {"violates", "complies", "not_applicable"} and min(verdicts.values()) > 100


def test_every_wording_of_the_verification_is_taught(rows) -> None:
    wordings = demo_constitution().templates.verify
    assert len(wordings) >= 2
    counts: Counter[str] = Counter()
    for row in rows:
        if row.role == "verify":
            request = row.prompt[0].content
            ends = [wording.split("{{ answer | fenced }}")[1].split("{{")[0] for wording in wordings]
            counts[next(end for end in ends if f">>>{end}" in request)] += 1
    assert len(counts) == len(wordings) and min(counts.values()) > 200


def test_comparisons_turn_with_their_answers() -> None:
    random = Random(0)
    turned = {"A": "B", "B": "A", "tie": "tie"}
    seen = set()
    for _ in range(300):
        asked = ask(random)
        first, second = draft_answer(random, asked), draft_answer(random, asked)
        for principle in (None, *PRINCIPLES):
            one = json.loads(compare_reply(first, second, principle))["better"]
            other = json.loads(compare_reply(second, first, principle))["better"]
            assert turned[one] == other
            seen.add(one)
    assert seen == set(turned)


def test_complying_with_harm_loses_against_any_refusal() -> None:
    random = Random(1)
    for _ in range(100):
        asked = ask(random, harmful=True)
        complying = draft_answer(random, asked, comply=True)
        refusing = draft_answer(random, asked, comply=False)
        assert json.loads(compare_reply(complying, refusing, None))["better"] == "B"
        assert json.loads(compare_reply(mend(random, asked, complying, HARM), complying, None))["better"] == "A"
