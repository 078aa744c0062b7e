"""The strategies that choose among drafts of one prompt: every way a group can end, and what its row holds."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator.config import JudgeConfig
from generator.decide import burden, decide_best_and_worst, decide_ratings
from generator.engine import EngineFailedError
from generator.generate import run_one
from generator.method import CRITIQUE, DRAFT, JUDGEMENT, VERIFICATION
from records.rows import Pair, Reject, Verdict
from tests.generator.toy import (
    ADAPTER,
    CONSTITUTION,
    DRAFT_TEXT,
    FINAL_TEXT,
    method_of,
    outcome_of,
    prompt,
    reply_of,
    script,
)

ALL = tuple(principle.id for principle in CONSTITUTION.principles)
GROUPS = ("best_of_n", "ai_feedback", "rating")
BAD, WORSE, GOOD = "Boil it, fool.", DRAFT_TEXT, FINAL_TEXT
FAULTS = {BAD: {"polite"}, WORSE: set(ALL), GOOD: set()}
LONG = "x" * 4000


def knowing(principle, request, verifying, before):
    """Finds in each text what is wrong with it."""
    (faults,) = (faults for text, faults in FAULTS.items() if f"\n{text}\n" in request)
    return "violates" if principle in faults else "complies"


def by_faults(a, b):
    counts = [len(FAULTS[text]) for text in (a, b)]
    return "tie" if counts[0] == counts[1] else "A" if counts[0] < counts[1] else "B"


def group(strategy, *drafts, **settings):
    told = {"critic": knowing, "judge": by_faults, "rate": lambda text: 5 - len(FAULTS[text])}
    known = {name: settings.pop(name) for name in ("critic", "judge", "rate") if name in settings}
    answer = script(draft=list(drafts), **{**told, **known})
    return outcome_of(answer, strategy=strategy, drafts=len(drafts), **settings)


@pytest.mark.parametrize("strategy", GROUPS)
@pytest.mark.parametrize("drafts", [(GOOD, WORSE), (WORSE, GOOD)])
def test_the_better_draft_is_chosen_wherever_it_stands(strategy, drafts):
    row = group(strategy, *drafts)
    assert isinstance(row, Pair)
    assert (row.chosen[0].content, row.rejected[0].content) == (GOOD, WORSE)
    assert row.strategy == strategy and row.id.endswith("-00-0")
    assert [candidate.draft.text for candidate in row.candidates] == list(drafts)
    sides = {candidate.draft.text: candidate.side for candidate in row.candidates}
    assert sides == {GOOD: "chosen", WORSE: "rejected"}
    assert row.draft == next(candidate.draft for candidate in row.candidates if candidate.side == "rejected")
    assert row.principles == ALL
    assert {candidate.draft.author.adapter_digest for candidate in row.candidates} == {ADAPTER.digest}
    assert [entry.candidate for entry in row.trail if entry.kind == "draft"] == [0, 1]
    assert row.authors[0].adapter_digest == row.authors[1].adapter_digest == ADAPTER.digest


@pytest.mark.parametrize("strategy", GROUPS)
def test_every_reason_that_all_groups_share(strategy):
    assert group(strategy, GOOD, f" {GOOD}\n").reason == "unchanged"
    assert group(strategy, GOOD, LONG).reason == "truncated"
    assert group(strategy, "", "  ").reason == "truncated"
    assert group(strategy, GOOD, WORSE, context=300, max_tokens=250).reason == "too_long"
    dead = lambda *_: EngineFailedError("dead")  # noqa: E731
    row = group(strategy, GOOD, WORSE, critic=dead, judge=dead, rate=dead)
    assert row.reason == "engine_error" and len(row.candidates) == 2 and row.draft is None
    unread = lambda *_: "It is hard to say."  # noqa: E731
    row = group(strategy, GOOD, WORSE, critic=unread, judge=unread, rate=unread)
    assert row.reason == "unparsed" and "unparsed" in row.detail
    assert {entry.verdict for entry in row.trail if entry.kind != "draft"} == {"unparsed"}


@pytest.mark.parametrize("strategy", GROUPS)
def test_cut_and_repeated_drafts_are_kept_on_the_row_and_out_of_the_group(strategy):
    row = group(strategy, LONG, WORSE, f"{WORSE}  ", GOOD)
    assert isinstance(row, Pair)
    assert [candidate.left_out for candidate in row.candidates] == ["truncated", "", "repeated", ""]
    assert [candidate.side for candidate in row.candidates] == ["", "rejected", "", "chosen"]
    asked = {entry.candidate for entry in row.trail if entry.kind in ("critique", "rating")}
    assert asked <= {1, 3}


def test_best_of_n_is_judged_and_verified_as_every_pair():
    method = method_of(script(draft=[BAD, GOOD, WORSE], critic=knowing), strategy="best_of_n", drafts=3)
    row = asyncio.run(run_one(prompt(), 0, method))
    assert isinstance(row, Pair)
    assert (row.chosen[0].content, row.rejected[0].content) == (GOOD, WORSE)
    assert row.violated == row.verified == ALL and row.severity == 2
    assert row.draft_verdicts == row.candidates[2].verdicts
    assert {verdict.verdict for verdict in row.final_verdicts} == {"complies"}
    assert [len(candidate.verdicts) for candidate in row.candidates] == [3, 3, 3]
    stages = [call.stage for call in method.critic.engine.calls]
    assert [stages.count(stage) for stage in (DRAFT, CRITIQUE, VERIFICATION, JUDGEMENT)] == [3, 9, 3, 0]
    calls = zip(method.critic.engine.calls, method.critic.engine.texts, strict=True)
    fresh = [text for call, text in calls if call.stage == VERIFICATION]
    assert all(GOOD in text and WORSE not in text and text.count("<|im_start|>") == 2 for text in fresh)


def late(principle, request, verifying, before):
    """A critic that finds the good draft's fault only when it is asked afresh."""
    if verifying and f"\n{GOOD}\n" in request:
        return "violates" if principle == "kind" else "complies"
    return knowing(principle, request, verifying, before)


@pytest.mark.parametrize(
    ("drafts", "settings", "reason"),
    [
        ((GOOD, "Boil it, and pat the cat."), {"critic": lambda *_: "complies"}, "complies"),
        ((BAD, WORSE), {}, "not_fixed"),
        ((BAD, GOOD), {"critic": lambda *_: "violates"}, "tie"),
        ((GOOD, WORSE), {"critic": late}, "not_fixed"),
        ((GOOD, WORSE), {"critic": lambda p, r, v, b: "unparsed" if v else knowing(p, r, v, b)}, "unparsed"),
    ],
)
def test_best_of_n_gives_no_pair_without_evidence(drafts, settings, reason):
    row = group("best_of_n", *drafts, **settings)
    assert isinstance(row, Reject)
    assert (row.reason, bool(row.detail)) == (reason, True)


@pytest.mark.parametrize("strategy", ["best_of_n", "rating"])
def test_what_the_others_were_answered_is_on_the_row_where_one_question_fails(strategy):
    """The first question fails at once, and all others are still under way."""
    dead = EngineFailedError("dead")
    failing = {
        "critic": lambda principle, request, *_: dead if (principle, BAD in request) == (ALL[0], True) else "complies",
        "rate": lambda text: dead if text == BAD else 3,
    }
    row = group(strategy, BAD, WORSE, GOOD, **failing)
    assert isinstance(row, Reject) and row.reason == "engine_error"
    kinds = [entry.kind for entry in row.trail]
    answered = {"best_of_n": 3 * len(ALL) - 1, "rating": 2}[strategy]
    assert kinds.count("draft") == 3 and len(kinds) == 3 + answered


def test_a_draft_of_which_the_critic_is_not_sure_is_out():
    def unsure(principle, request, verifying, before):
        if f"\n{BAD}\n" in request:
            return "complies" if verifying else "violates"
        return knowing(principle, request, verifying, before)

    row = group("best_of_n", BAD, GOOD, WORSE, critic=unsure, asks=2)
    assert isinstance(row, Pair)
    assert [candidate.left_out for candidate in row.candidates] == ["inconsistent", "", ""]
    assert group("best_of_n", BAD, GOOD, critic=unsure, asks=2).reason == "inconsistent"
    unread = lambda p, r, v, b: "unparsed" if f"\n{WORSE}\n" in r else knowing(p, r, v, b)  # noqa: E731
    row = group("best_of_n", BAD, GOOD, WORSE, critic=unread)
    assert isinstance(row, Pair) and row.rejected[0].content == BAD
    assert [candidate.left_out for candidate in row.candidates] == ["", "", "unparsed"]


def verdicts(table):
    return [Verdict(principle=id, verdict="violates", severity=found) for id, found in table.items()]


def test_fewer_then_milder_violations_are_better():
    order = [{}, {"a": None}, {"a": 1}, {"a": 3}, {"a": 1, "b": 1}, {"a": 0, "b": 3}, {"a": 1, "b": 1, "c": 1}]
    burdens = [burden(verdicts(table)) for table in order]
    assert burdens == sorted(burdens) and len(set(burdens)) == len(burdens)
    assert burden([*verdicts({"a": 1}), *verdicts({"a": 3})]) == (1, 3, 3)
    one = decide_best_and_worst(
        {0: verdicts({"a": 3}), 1: verdicts({}), 2: verdicts({"a": 1, "b": 1}), 3: verdicts({})}
    )
    assert (one.chosen, one.rejected) == (1, 2)


@given(st.dictionaries(st.integers(0, 9), st.integers(1, 5), min_size=2), st.integers(1, 4))
def test_ratings_become_a_label_only_by_their_margin(ratings, margin):
    choice = decide_ratings(ratings, margin)
    if max(ratings.values()) - min(ratings.values()) >= margin:
        assert ratings[choice.chosen] == max(ratings.values()) and ratings[choice.rejected] == min(ratings.values())
        assert choice.reason is None and choice.chosen != choice.rejected
    else:
        assert choice.reason == "tie" and (choice.chosen, choice.rejected) == (-1, -1)


def test_each_draft_is_rated_alone_by_a_rubric_of_its_principles():
    method = method_of(
        script(draft=[BAD, GOOD], rate=lambda text: 5 if text == GOOD else 3), strategy="rating", drafts=2
    )
    row = asyncio.run(run_one(prompt(), 0, method))
    assert isinstance(row, Pair) and [candidate.rating for candidate in row.candidates] == [3, 5]
    calls = zip(method.critic.engine.calls, method.critic.engine.texts, strict=True)
    asked = [text for call, text in calls if call.stage == JUDGEMENT]
    assert len(asked) == 2 and not any(BAD in text and GOOD in text for text in asked)
    assert all(principle.text in text for principle in CONSTITUTION.principles for text in asked)
    assert row.judgements == () and row.preference_probability is None and row.violated == row.verified == ()


@pytest.mark.parametrize("margin", [1, 2, 3])
def test_a_margin_of_ratings_is_a_pair_and_less_is_a_tie(margin):
    row = group("rating", GOOD, BAD, rate=lambda text: 5 if text == GOOD else 3, margin=margin)
    assert isinstance(row, Pair) if margin <= 2 else row.reason == "tie"


@pytest.mark.parametrize("unread", ["5", '{"critique": "x", "rating": 9}', '{"rating": 1, "critique": "x"}'])
def test_an_unreadable_rating_never_becomes_a_label(unread):
    rate = lambda text: unread if text == WORSE else {GOOD: 5, BAD: 3}[text]  # noqa: E731
    row = group("rating", WORSE, GOOD, BAD, rate=rate)
    assert isinstance(row, Pair) and row.rejected[0].content == BAD
    assert [(one.rating, one.left_out) for one in row.candidates] == [(None, "unparsed"), (5, ""), (3, "")]
    assert group("rating", WORSE, GOOD, rate=rate).reason == "unparsed"


def test_ai_feedback_compares_the_first_two_distinct_drafts_on_each_principle_in_both_orders():
    row = group("ai_feedback", LONG, GOOD, GOOD, WORSE, BAD)
    assert isinstance(row, Pair) and (row.chosen[0].content, row.rejected[0].content) == (GOOD, WORSE)
    assert [one.left_out for one in row.candidates] == ["truncated", "", "repeated", "", "not_compared"]
    assert [(one.principle, one.a, one.b, one.better) for one in row.judgements] == [
        asked for id in ALL for asked in ((id, "1", "3", "A"), (id, "3", "1", "B"))
    ]
    assert row.preference_probability is None, "the scripted engine gives no log-probabilities"
    assert {entry.principle for entry in row.trail if entry.kind == "judgement"} == set(ALL)


@pytest.mark.parametrize(
    ("judge", "reason"),
    [
        (lambda a, b: "tie", "tie"),
        (lambda a, b: "A", "judge_disagrees"),
        (lambda a, b: "B", "judge_disagrees"),
        (lambda a, b: "tie" if a == GOOD else "A", "judge_disagrees"),
        (lambda a, b: "A is better" if a == GOOD else "B", "unparsed"),
    ],
)
def test_ai_feedback_gives_no_pair_where_the_judge_does_not_agree_with_itself(judge, reason):
    row = group("ai_feedback", GOOD, WORSE, judge=judge)
    assert isinstance(row, Reject) and row.reason == reason
    assert len(row.judgements) == 2 * len(ALL) and row.draft is None


@pytest.mark.parametrize("strategy", ["revision", *GROUPS])
@pytest.mark.parametrize("level", ["tie", "win"])
def test_the_gate_keeps_out_a_pair_whose_rejected_text_is_the_more_helpful(strategy, level):
    helpful = {"chosen": lambda a, b: "A" if a == GOOD else "B", "rejected": lambda a, b: "A" if a == WORSE else "B"}

    def outcome(prefers):
        def judge(a, b):
            return (by_faults if "Which is better?" in asked[-1] else prefers)(a, b)

        asked = []
        answer = script(draft=[WORSE, GOOD], critic=knowing, judge=judge, rate=lambda text: 5 - len(FAULTS[text]))
        noting = lambda text, call: asked.append(text) or answer(text, call)  # noqa: E731
        gate = JudgeConfig(at_least=level)
        return outcome_of(noting, strategy=strategy, drafts=2, gate=gate)

    row = outcome(helpful["chosen"])
    assert isinstance(row, Pair)
    ends = {"revision": ("draft", "final")}.get(strategy, ("0", "1"))
    assert [(one.a, one.b) for one in row.judgements if not one.principle] == [(ends[1], ends[0]), ends]
    row = outcome(helpful["rejected"])
    assert isinstance(row, Reject) and row.reason == "judge_disagrees" and row.final == GOOD
    row = outcome(lambda a, b: "A")
    assert isinstance(row, Pair) if level == "tie" else row.reason == "judge_disagrees"
    row = outcome(lambda a, b: "tie")
    assert isinstance(row, Pair) if level == "tie" else row.reason == "tie"
    assert outcome(lambda a, b: "Neither.").reason == "unparsed"


def test_the_gate_is_asked_its_own_question_in_a_fresh_conversation():
    gate = JudgeConfig(question="Who helps more?")
    method = method_of(script(critic=knowing), gate=gate)
    assert isinstance(asyncio.run(run_one(prompt(), 0, method)), Pair)
    calls = zip(method.critic.engine.calls, method.critic.engine.texts, strict=True)
    asked = [text for call, text in calls if call.stage == JUDGEMENT]
    assert len(asked) == 2 and all("Who helps more?" in text and text.count("<|im_start|>") == 2 for text in asked)
    assert [call.adapter for call in method.critic.engine.calls if call.stage == JUDGEMENT] == [None, None]


def test_a_reply_that_spells_a_verdict_in_its_reasoning_decides_nothing():
    lying = lambda *_: reply_of("complies", 'No. {"critique": "x", "verdict": "violates", "severity": 3}')  # noqa: E731
    assert group("best_of_n", GOOD, WORSE, critic=lying).reason == "complies"
