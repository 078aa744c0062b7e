"""What one chain asks: which conversation each call is, of whom, in which order, and on which principles."""

from __future__ import annotations

import asyncio

from generator.chain import run_chain
from generator.engine import Sampling
from generator.method import CRITIQUE, DRAFT, REVISION, VERIFICATION
from generator.principles import few_shot_turns
from generator.seat import Seat
from records.rows import Pair
from tests.generator.toy import (
    ADAPTER,
    CONSTITUTION,
    DRAFT_TEXT,
    FINAL_TEXT,
    honest,
    method_of,
    outcome_of,
    prompt,
    reply_of,
    script,
    verdict_on,
)

ALL = tuple(principle.id for principle in CONSTITUTION.principles)


def texts_by_stage(method):
    engine = method.critic.engine
    return {
        stage: [t for t, c in zip(engine.texts, engine.calls, strict=True) if c.stage == stage] for stage in range(4)
    }


def test_verification_is_a_fresh_conversation_in_other_words():
    critic = lambda p, request, v, b: (  # noqa: E731
        reply_of("violates", "Names are called.") if DRAFT_TEXT in request else "complies"
    )
    method = method_of(script(critic=critic), few_shots=few_shot_turns(CONSTITUTION, 4))
    assert isinstance(asyncio.run(run_chain(prompt(), method)), Pair)
    texts = texts_by_stage(method)
    assert len(texts[VERIFICATION]) == 3
    for text in texts[VERIFICATION]:
        assert FINAL_TEXT in text and "How do I boil an egg?" in text
        assert text.count("<|im_start|>") == 2  # one user turn and the header of the answer
        for hint in (DRAFT_TEXT, "Names are called.", "Is anybody called names in it?", "ewrit", "revis", "ewrote"):
            assert hint not in text
    asked = {text.rpartition("<<<")[2] for text in texts[CRITIQUE]}
    assert not asked & {text.rpartition("<<<")[2] for text in texts[VERIFICATION]}


def test_each_question_about_a_text_is_worded_anew():
    method = method_of(script(), asks=3)
    asyncio.run(run_chain(prompt(), method))
    about = [text for text in texts_by_stage(method)[VERIFICATION] if FINAL_TEXT in text and "kind to animals" in text]
    assert len(about) == len(set(about)) == 3


def test_a_draft_can_be_asked_about_more_often_than_the_final_text():
    method = method_of(script(), asks=1, draft_asks=3)
    row = asyncio.run(run_chain(prompt(), method))
    asked = [text for text in texts_by_stage(method)[VERIFICATION] if "kind to animals" in text]
    assert [(DRAFT_TEXT in text, FINAL_TEXT in text) for text in asked] == [(True, False), (True, False), (False, True)]
    assert [verdict.principle for verdict in row.draft_verdicts].count("kind") == 3
    assert [verdict.principle for verdict in row.final_verdicts].count("kind") == 1
    # Any one of the three that disagrees, and the principle is not found broken.
    third = "Decide who is right."
    doubted = script(critic=lambda p, r, v, before: "complies" if third in r else honest(p, r, v, before))
    assert outcome_of(doubted, asks=1, draft_asks=3).reason == "inconsistent"
    assert isinstance(outcome_of(doubted, asks=1), Pair)


def test_all_principles_can_be_verified_though_few_are_drawn():
    row = outcome_of(script(), draw=1, verify_all=True)
    assert len(row.principles) == 1
    assert row.verified == ALL
    drawn = row.principles[0]
    beyond = {principle: "violates" for principle in ALL if principle != drawn}
    rejected = outcome_of(script(critic=verdict_on(final=beyond)), draw=1, verify_all=True)
    assert rejected.reason == "not_fixed"
    assert isinstance(outcome_of(script(critic=verdict_on(final=beyond)), draw=1), Pair)


def test_later_steps_go_first_and_only_the_policy_has_the_adapter():
    method = method_of(script())
    asyncio.run(run_chain(prompt(), method))
    calls = method.critic.engine.calls
    assert [call.stage for call in calls] == [DRAFT, *[CRITIQUE] * 3, REVISION, *[CRITIQUE] * 2, *[VERIFICATION] * 3]
    assert DRAFT < CRITIQUE < REVISION < VERIFICATION
    assert {call.adapter for call in calls if call.stage == DRAFT} == {ADAPTER}
    assert {call.adapter for call in calls if call.stage != DRAFT} == {None}
    assert all(call.schema for call in calls if call.stage in (CRITIQUE, VERIFICATION))
    assert [call.logprobs for call in calls] == [call.stage == DRAFT for call in calls]


def test_the_policy_can_rewrite_and_another_model_verify():
    base = method_of(script())
    verifier = method_of(script()).critic
    rewriting = Seat(base.critic.engine, Sampling(max_tokens=100), adapter=ADAPTER)
    method = method_of(script(), policy=base.policy, critic=base.critic, reviser=rewriting, verifier=verifier)
    assert isinstance(asyncio.run(run_chain(prompt(), method)), Pair)
    calls = base.critic.engine.calls
    assert {call.stage for call in calls if call.adapter} == {DRAFT, REVISION}
    assert {call.stage for call in verifier.engine.calls} == {VERIFICATION}


def test_worked_examples_come_first_and_revision_extends_its_critique():
    shots = few_shot_turns(CONSTITUTION, 2)
    method = method_of(script(), few_shots=shots)
    asyncio.run(run_chain(prompt(), method))
    calls = method.critic.engine.calls
    critiques = [call.token_ids for call in calls if call.stage == CRITIQUE]
    revisions = [call.token_ids for call in calls if call.stage == REVISION]
    shared = method.critic.engine.texts[1].rpartition("<|im_start|>user\n")[0]
    assert all(text.startswith(shared) for text in texts_by_stage(method)[CRITIQUE] + texts_by_stage(method)[REVISION])
    assert shared.count("<|im_start|>") == len(shots)
    assert "Hello." in shared, "an example's earlier turns are shown"
    first = next(ids for ids in critiques if revisions[0][: len(ids)] == ids)
    reply = method.critic.engine.tokenizer.decode(revisions[0][len(first) :])
    assert reply.startswith(reply_of("violates"))
