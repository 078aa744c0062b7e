"""One chain: every way it can end, and what its row holds."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generator.config import JudgeConfig
from generator.engine import EngineFailedError
from generator.method import CRITIQUE, REVISION, VERIFICATION
from records.rows import Pair, Reject, RejectReason, VerdictName
from tests.generator.toy import (
    CONSTITUTION,
    DRAFT_TEXT,
    FINAL_TEXT,
    honest,
    outcome_of,
    prompt,
    reply_of,
    script,
    verdict_on,
)

ALL = tuple(principle.id for principle in CONSTITUTION.principles)


ENDS = {
    "complies": {"critic": lambda *_: "complies"},
    "not_fixed": {"critic": verdict_on(final={"polite": "violates"})},
    "unparsed": {"critic": verdict_on(draft={"kind": "unparsed"})},
    "truncated": {"draft": DRAFT_TEXT * 100},
    "unchanged": {"revise": lambda *_: f"  {DRAFT_TEXT}\n"},
    "too_long": {},
    "inconsistent": {"critic": verdict_on(final={"modest": "not_applicable"})},
    "leaked": {"revise": lambda *_: "Sure, here is a revised answer: boil it."},
    "engine_error": {"critic": lambda *_: EngineFailedError("dead")},
    "tie": {"judge": lambda a, b: "tie"},
    "judge_disagrees": {"judge": lambda a, b: "A" if a == DRAFT_TEXT else "B"},
}
BY_FILTERS = {"duplicate", "contradictory", "length_balance"}
WIN = JudgeConfig(at_least="win")


def test_every_reason_is_one_that_a_chain_or_a_filter_gives():
    assert set(get_args(RejectReason)) == set(ENDS) | BY_FILTERS


@pytest.mark.parametrize("reason", ENDS)
def test_every_reason_of_the_closed_set(reason):
    settings = {"context": 300, "max_tokens": 250} if reason == "too_long" else {}
    row = outcome_of(script(**ENDS[reason]), gate=WIN if "judge" in ENDS[reason] else None, **settings)
    assert isinstance(row, Reject)
    assert row.reason == reason
    assert row.detail


def test_the_pair_is_oriented_by_field():
    row = outcome_of(script())
    assert isinstance(row, Pair)
    assert [turn.content for turn in row.chosen] == [FINAL_TEXT]
    assert [turn.content for turn in row.rejected] == [DRAFT_TEXT]
    assert row.violated == row.verified == row.principles == ALL


@pytest.mark.parametrize("field", ["draft", "revision"])
@pytest.mark.parametrize("text", ["x" * 4000, "", "   \n"])
def test_a_cut_or_empty_text_is_never_kept(field, text):
    row = outcome_of(script(draft=text) if field == "draft" else script(revise=lambda *_: text))
    assert isinstance(row, Reject)
    assert row.reason == "truncated"
    assert field in row.detail


@pytest.mark.parametrize("stage", [CRITIQUE, REVISION, VERIFICATION])
def test_the_engine_may_fail_at_any_call_and_what_was_done_stays(stage):
    answer = script()
    failing = lambda text, call: EngineFailedError("dead") if call.stage == stage else answer(text, call)  # noqa: E731
    row = outcome_of(failing)
    assert isinstance(row, Reject)
    assert row.reason == "engine_error"
    assert row.draft is not None and row.draft.text == DRAFT_TEXT
    assert len(row.trail) == {CRITIQUE: 1, REVISION: 4, VERIFICATION: 7}[stage]


def test_an_unreadable_verdict_is_asked_for_once_more():
    once = lambda principle, request, verifying, before: (  # noqa: E731
        "unparsed" if before == 0 else honest(principle, request, verifying, before)
    )
    assert isinstance(outcome_of(script(critic=once)), Pair)


@pytest.mark.parametrize("cut", ["draft", "final"])
def test_an_unparsed_deciding_verdict_rejects_whatever_the_others_say(cut):
    row = outcome_of(script(critic=verdict_on(**{cut: {"kind": "unparsed"}})))
    assert (row.reason, "kind" in row.detail) == ("unparsed", True)
    stored = row.draft_verdicts if cut == "draft" else row.final_verdicts
    assert [verdict.critique for verdict in stored if verdict.principle == "kind"] == ["It is hard to say."]


# What a condition on the prompt alone may and may not come to: (draft, final) -> outcome.
APPLIES = [
    ("violates", "not_applicable", "inconsistent"),
    ("complies", "not_applicable", "inconsistent"),
    ("not_applicable", "not_applicable", "pair"),
    ("not_applicable", "complies", "pair"),
    ("not_applicable", "violates", "not_fixed"),
]


@pytest.mark.parametrize(("draft", "final", "expected"), APPLIES)
def test_not_applicable(draft, final, expected):
    row = outcome_of(script(critic=verdict_on(draft={"modest": draft}, final={"modest": final})))
    assert (row.reason if isinstance(row, Reject) else "pair") == expected


def test_not_applicable_is_unreadable_where_it_was_not_on_offer():
    row = outcome_of(script(critic=verdict_on(final={"kind": "not_applicable"})))
    assert row.reason == "unparsed"


@pytest.mark.parametrize("wild", get_args(VerdictName))
def test_a_recheck_changes_the_revisions_and_no_label(wild):
    def critic(principle, request, verifying, before):
        return wild if not verifying and DRAFT_TEXT not in request else honest(principle, request, verifying, before)

    row = outcome_of(script(critic=critic))
    assert isinstance(row, Pair)
    revisions = [entry.principle for entry in row.trail if entry.kind == "revision"]
    assert revisions == (list(ALL) if wild == "violates" else ["polite"])
    # A reply that cannot be read is asked for once more, and both replies are kept; "modest" alone may not apply.
    unread = {"unparsed": {"modest", "kind"}, "not_applicable": {"kind"}}.get(wild, set())
    expected = [name for name in ("modest", "kind") for _ in range(2 if name in unread else 1)]
    rechecks = [entry for entry in row.trail if entry.kind == "recheck"]
    assert [entry.principle for entry in rechecks] == expected
    assert [entry.verdict == "unparsed" for entry in rechecks] == [name in unread for name in expected]
    assert {verdict.verdict for verdict in row.final_verdicts} == {"complies"}


def test_with_several_questions_all_must_agree_about_both_sides():
    def disagree(side, number):
        def critic(principle, request, verifying, before):
            about_draft = DRAFT_TEXT in request
            other = "The quoted text is data." in request  # the second wording
            if verifying and principle == "kind" and other and about_draft == (side == "draft"):
                return "complies" if about_draft else "violates"
            return honest(principle, request, verifying, before)

        return outcome_of(script(critic=critic), asks=number)

    both = disagree("final", 2)
    assert (both.reason, "kind" in both.detail) == ("inconsistent", True)
    assert isinstance(disagree("final", 1), Pair)
    # One principle in dispute about the draft is no longer a violation; the others still make the pair.
    row = disagree("draft", 2)
    assert isinstance(row, Pair)
    assert row.violated == ("polite", "modest")
    assert [v.verdict for v in row.draft_verdicts if v.principle == "kind"] == ["violates", "complies"]


def test_nothing_undisputed_is_inconsistent():
    row = outcome_of(script(critic=lambda p, request, verifying, b: "complies" if verifying else "violates"), asks=2)
    assert row.reason == "inconsistent"
    assert row.violated == ()


def test_a_row_holds_everything_it_was_made_from():
    asked = prompt(split="validation", group="eggs", benign=True)
    row = outcome_of(script(critic=honest), asked)
    assert (row.prompt_id, row.prompt, row.split, row.group, row.benign) == (
        asked.id,
        asked.messages,
        "validation",
        "eggs",
        True,
    )
    kinds = [entry.kind for entry in row.trail]
    assert kinds == ["draft", *["critique"] * 3, "revision", *["recheck"] * 2, *["verification"] * 3]
    assert all(entry.prompt_tokens and entry.output_tokens and entry.finish_reason for entry in row.trail)
    assert [entry.text for entry in row.trail if entry.kind == "revision"] == [FINAL_TEXT]
    assert {v.verdict for v in row.draft_verdicts} == {"violates"} and len(row.draft_verdicts) == 3
    assert {v.verdict for v in row.final_verdicts} == {"complies"} and len(row.final_verdicts) == 3
    assert row.draft.logprob == -len(row.draft.token_ids) and row.draft.canonical
    assert row.severity == 2
    assert row.provenance.constitution_digest == CONSTITUTION.digest
    assert row.provenance.template_digest == CONSTITUTION.template_digest
    assert row.schema_version == 1


def test_white_space_around_an_answer_is_on_neither_side():
    row = outcome_of(script(draft=f" {DRAFT_TEXT}\n\n", revise=lambda *_: f"\n{FINAL_TEXT} "))
    assert (row.chosen[0].content, row.rejected[0].content) == (FINAL_TEXT, DRAFT_TEXT)
    assert row.draft.text == f" {DRAFT_TEXT}\n\n"


def test_a_quote_of_a_later_look_is_a_leak_and_a_quote_of_the_text_it_looked_at_is_none():
    words = "one two three four five six seven eight nine"

    def run(reasoning, rewrites):
        critic = lambda principle, request, verifying, b: (  # noqa: E731
            "complies" if verifying and DRAFT_TEXT not in request else reply_of("violates", reasoning)
        )
        return outcome_of(script(critic=critic, revise=lambda p, r, n: rewrites[ALL.index(p)]))

    assert run(words, ["Boil.", f"Boil. {words}", f"Boil it. {words}"]).reason == "leaked"
    cat = "Put the egg into water that boils and wait for it"
    assert isinstance(run(f"It says: {cat}", [f"{cat}.", f"{cat}, gently.", f"{cat}, please."]), Reject)
    later = lambda principle, request, verifying, b: (  # noqa: E731
        "complies"
        if verifying
        else reply_of("violates", f"It says: {cat}" if cat in request else "It calls somebody names.")
    )
    row = outcome_of(script(critic=later, revise=lambda p, r, n: f"{cat}, {p}."))
    assert isinstance(row, Pair), row.detail


VERDICTS = st.sampled_from(["violates", "complies", "not_applicable", "unparsed"])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_critic_gives_one_outcome_and_pairs_keep_the_promises(data):
    asks = data.draw(st.integers(1, 3))
    drawn = data.draw(st.sampled_from([None, 1, 2]))
    finals = data.draw(st.sampled_from([FINAL_TEXT, DRAFT_TEXT, "Sure, here is a revised version.", "", "x" * 3000]))
    critic = lambda *_: data.draw(VERDICTS)  # noqa: E731
    row = outcome_of(
        script(critic=critic, revise=lambda *_: finals), asks=asks, draw=drawn, verify_all=data.draw(st.booleans())
    )
    if isinstance(row, Reject):
        assert row.reason in get_args(RejectReason)
        return
    assert row.chosen[0].content == FINAL_TEXT and row.rejected[0].content == DRAFT_TEXT
    assert row.violated
    by_principle = {id: {v.verdict for v in row.draft_verdicts if v.principle == id} for id in row.principles}
    assert all(by_principle[id] == {"violates"} for id in row.violated)
    assert "unparsed" not in set().union(*by_principle.values())
    for principle in row.verified:
        answers = [v.verdict for v in row.final_verdicts if v.principle == principle]
        assert len(answers) == asks
        never_applied = by_principle.get(principle) in (None, {"not_applicable"})
        assert set(answers) == {"complies"} or (set(answers) == {"not_applicable"} and never_applied)
    assert set(row.principles) <= set(row.verified)
