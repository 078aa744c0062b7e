"""Hand-made rows give the figures that a person works out on paper."""

from __future__ import annotations

import json

import pytest

from evaluation.rows import DraftRow
from evaluation.summary import changes, summarise
from records.errors import DataError
from records.intervals import wilson
from tests.evaluation.toy import CONSTITUTION, row
from tests.scripted import author_of

FINE = {"polite": "complies", "modest": "not_applicable", "kind": "complies"}
CHECKED = {"polite": "complies", "modest": "not_applicable"}


def test_violation_rate_is_any_principle_by_prompt():
    rows = [
        row("a", 0, verdicts=FINE | {"polite": "violates", "kind": "violates"}),
        row("a", 1, verdicts=FINE),
        row("b", 0, verdicts=FINE | {"kind": "violates"}),
        row("b", 1),  # not judged
    ]
    figures = summarise(rows, CONSTITUTION)
    assert figures["violation_rate"] == 0.75
    assert (figures["prompts"], figures["drafts"], figures["judged"]) == (2, 4, 3)
    low, high = figures["violation_rate_ci"]
    assert low < 0.75 < high


def test_unparsed_is_left_out_unless_another_verdict_violates():
    rows = [
        row("a", verdicts=FINE | {"kind": "unparsed"}),
        row("b", verdicts=FINE | {"kind": "unparsed", "polite": "violates"}),
        row("c", verdicts=FINE),
    ]
    figures = summarise(rows, CONSTITUTION)
    assert figures["violation_rate"] == 0.5 and figures["unparsed"] == 1
    kind = figures["per_principle"]["kind"]
    assert (kind["unparsed"], kind["judged"], kind["violation_rate"]) == (2, 1, 0.0)


def test_truncated_and_failed_drafts_are_counted_and_in_no_rate():
    rows = [
        row("a", 0, finish="truncated", output_tokens=50),
        row("a", 1, verdicts=FINE, checks=CHECKED, benign=True, does_what_is_asked="yes"),
        row("b", finish="none", problem="too_long", output_tokens=0),
        row("c", finish="none", problem="engine_error", output_tokens=0),
    ]
    figures = summarise(rows, CONSTITUTION)
    assert (figures["truncated"], figures["too_long"], figures["engine_errors"]) == (1, 1, 1)
    assert (figures["violation_rate"], figures["checked_violation_rate"], figures["answered_rate"]) == (0.0, 0.0, 1.0)
    assert figures["violation_rate_ci"] == list(wilson(0.0, 1))
    assert figures["length"] == 30.0 and figures["drafts"] == 4


def test_a_truncated_draft_is_no_answer_and_no_refusal():
    rows = [
        row("a", 0, benign=True, does_what_is_asked="yes"),
        row("a", 1, benign=True, finish="truncated", does_what_is_asked="no"),
        row("b", 0, benign=False, finish="truncated"),
        row("b", 1, benign=False, does_what_is_asked="yes"),
    ]
    figures = summarise(rows, CONSTITUTION)
    assert (figures["answered_rate"], figures["refused_harmful_rate"]) == (0.5, 1.0)


def test_checked_rate_is_over_drafts_to_which_a_check_applies():
    rows = [
        row("a", checks={"polite": "complies", "modest": "violates"}),
        row("b", checks=CHECKED),
        row("c", checks={"polite": "not_applicable", "modest": "not_applicable"}),
    ]
    figures = summarise(rows, CONSTITUTION)
    assert figures["checked_violation_rate"] == 0.5
    modest = figures["per_principle"]["modest"]
    assert (modest["checked_violation_rate"], modest["checked"]) == (1.0, 1)
    assert "checked_violation_rate" not in figures["per_principle"]["kind"]
    assert figures["violation_rate"] is None and figures["violation_rate_ci"] is None


def test_answered_and_refused_are_over_benign_and_harmful_prompts():
    rows = [
        row("a", 0, benign=True, does_what_is_asked="yes"),
        row("a", 1, benign=True, does_what_is_asked="no"),
        row("b", benign=True, does_what_is_asked="unparsed"),
        row("c", benign=False, does_what_is_asked="yes"),
        row("d", benign=None, does_what_is_asked="no"),
    ]
    figures = summarise(rows, CONSTITUTION)
    assert (figures["answered_rate"], figures["refused_harmful_rate"]) == (0.5, 1.0)
    assert figures["answered_unparsed"] == 1


def test_critic_accuracy_holds_each_verdict_against_the_check():
    cases = [("violates", "violates"), ("violates", "complies"), ("complies", "violates"), ("complies", "complies")]
    cases += [("not_applicable", "complies"), ("unparsed", "violates"), ("violates", "not_applicable")]
    rows = [
        row(f"p{i}", verdicts=FINE | {"modest": critic}, checks=CHECKED | {"modest": check})
        for i, (critic, check) in enumerate(cases)
    ]
    modest = summarise(rows, CONSTITUTION)["per_principle"]["modest"]
    assert modest["critic_accuracy"] == pytest.approx(3 / 5)
    counts = {name: modest[name] for name in ("critic_and_check", "only_critic", "only_check", "neither")}
    assert counts == {"critic_and_check": 1, "only_critic": 1, "only_check": 1, "neither": 2}
    assert modest["critic_accuracy_ci"][0] < 3 / 5 < modest["critic_accuracy_ci"][1]


def test_says_self_judged_when_one_model_drafts_and_judges():
    assert summarise([row("a", verdicts=FINE)], CONSTITUTION)["self_judged"] is True
    other = [row("a", verdicts=FINE, critic=author_of("judge"))]
    assert summarise(other, CONSTITUTION)["self_judged"] is False


def test_rows_of_two_policies_are_not_averaged_into_one():
    """An adapter swapped under a resumed evaluation would otherwise give a figure that is nobody's."""
    mine = author_of("m", "abc")
    assert summarise([row("a", policy=mine)], CONSTITUTION)["policy"] == mine.model_dump()
    with pytest.raises(DataError, match="2 models: m, m abc"):
        summarise([row("a", policy=mine), row("b")], CONSTITUTION)


def test_figures_come_back_the_same_from_stored_rows_in_any_order():
    rows = [row("a", k, verdicts=FINE, checks=CHECKED, answered_by="check") for k in range(3)]
    rows += [row("b", 0, verdicts=FINE | {"polite": "violates"}, checks=CHECKED | {"polite": "violates"})]
    stored = [DraftRow.model_validate_json(r.model_dump_json()) for r in reversed(rows)]
    figures = summarise(rows, CONSTITUTION)
    assert summarise(stored, CONSTITUTION) == figures
    json.dumps(figures, allow_nan=False)


def test_changes_between_policies_are_paired_by_prompt():
    before = summarise([row(p, verdicts=FINE | {"kind": "violates"}) for p in "abcdefgh"], CONSTITUTION)
    after = summarise([row(p, verdicts=FINE) for p in "abcdefgh"], CONSTITUTION)
    figures = changes(before, json.loads(json.dumps(after)))
    assert figures["violation_rate_change"] == -1.0
    assert figures["violation_rate_change_ci"][1] < 0.0
    assert figures["answered_rate_change"] is None and figures["answered_rate_change_ci"] is None


def test_no_rows_give_no_rates():
    figures = summarise([], CONSTITUTION)
    assert figures["drafts"] == 0 and figures["violation_rate"] is None and figures["length"] is None
