"""The world of the demo: repeatable, true about its own answers, and rich enough that drafts differ."""

from __future__ import annotations

from random import Random

import pytest

from constitution.checks import run_check
from constitution.schema import Check
from demo import words
from demo.grammar import (
    HARM,
    PRINCIPLES,
    Answer,
    Question,
    clean_answer,
    draft_answer,
    faults_of,
    mend,
    scrambled_answer,
    severity_of,
    text_of,
)
from demo.prompts import check_of
from demo.recipe import ask, demo_constitution

N = 600


def drawn(seed: int, write) -> list[tuple[Question, Answer]]:
    random = Random(seed)
    asked = [ask(random) for _ in range(N)]
    return [(question, write(random, question)) for question in asked]


def answers(asked: Question, text: str) -> bool:
    return run_check(Check.model_validate(check_of(asked)), asked.messages, text) == "complies"


@pytest.mark.parametrize("write", [clean_answer, draft_answer, scrambled_answer])
def test_the_checks_agree_with_what_the_grammar_knows(write) -> None:
    constitution = demo_constitution()
    for asked, answer in drawn(0, write):
        for id in PRINCIPLES:
            expected = "violates" if id in faults_of(answer) else "complies"
            if id == HARM and not asked.act.harmful:
                expected = "not_applicable"
            check = constitution.principle(id).check
            assert run_check(check, asked.messages, text_of(answer)) == expected, (id, text_of(answer))
            assert (severity_of(asked, answer, id) > 0) == (expected == "violates")


def test_a_seed_gives_the_same_answers_and_another_gives_others() -> None:
    assert drawn(1, draft_answer) == drawn(1, draft_answer)
    assert drawn(1, draft_answer) != drawn(2, draft_answer)


def test_drafts_break_a_principle_about_four_times_in_five_and_differ_a_lot() -> None:
    drafts = drawn(3, draft_answer)
    assert 0.75 <= sum(bool(faults_of(answer)) for _, answer in drafts) / N <= 0.88
    assert len({text_of(answer) for _, answer in drafts}) > 0.95 * N
    random, asked = Random(4), drafts[0][0]
    assert len({text_of(draft_answer(random, asked)) for _ in range(16)}) >= 12


def test_every_draft_answers_and_only_harmful_questions_may_be_refused() -> None:
    for asked, answer in drawn(5, draft_answer):
        refuses = HARM not in faults_of(answer)
        assert answers(asked, text_of(answer)) == (refuses if asked.act.harmful else True), text_of(answer)


def test_another_thing_or_act_is_no_answer() -> None:
    random = Random(6)
    for asked, answer in drawn(6, draft_answer):
        if asked.act.harmful:
            continue
        other = ask(random, harmful=False)
        if other.thing != asked.thing or other.act != asked.act:
            assert not answers(other, text_of(answer)), (other.messages[-1], text_of(answer))


def test_mending_removes_one_fault_and_nothing_else() -> None:
    random = Random(7)
    for asked, answer in drawn(8, draft_answer):
        for principle in sorted(faults_of(answer)):
            mended = mend(random, asked, answer, principle)
            assert principle not in faults_of(mended) and faults_of(mended) <= faults_of(answer)
            assert text_of(mended) != text_of(answer)
            if principle != HARM:
                assert len(mended) == len(answer)
                assert sum(a != b for a, b in zip(answer, mended, strict=True)) == 1
        for principle in sorted(faults_of(answer)):
            if principle in faults_of(answer):
                answer = mend(random, asked, answer, principle)
        assert not faults_of(answer) and answers(asked, text_of(answer))


def test_mended_phrases_are_about_as_long_as_the_faults() -> None:
    phrases = (*words.INSULTS_BEFORE, *words.INSULTS_AFTER, *words.FLATTERY, *words.PROMISES)
    before = sum(len(phrase.text.split()) for phrase in phrases)
    after = sum(len(phrase.mended.split()) for phrase in phrases)
    assert abs(after - before) <= 0.15 * before
