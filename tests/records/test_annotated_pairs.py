"""AnnotatedPairs: who prefers which side and why not, ids, and no side that always wins."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from generator.config import JudgeConfig
from records.annotated_pairs import LABEL, annotators, comparison, short_id
from records.rows import Pair, Verdict
from tests.generator.toy import (
    CONSTITUTION,
    DRAFT_TEXT,
    FINAL_TEXT,
    fair,
    outcome_of,
    prompt,
    provenance,
    script,
    verdict_on,
)
from tests.scripted import author_of

NORMS = {principle.id: principle.text for principle in CONSTITUTION.principles}
SWAPPED = {"a": "b", "b": "a", None: None}


def md5(text):
    return hashlib.md5(text.encode("utf-8")).hexdigest()[:8]


def pair_of(text="How do I boil an egg?", *, final=None, draft=None, **columns) -> Pair:
    made = outcome_of(script(critic=verdict_on(final, draft)), prompt(text), **columns)
    assert isinstance(made, Pair)
    return made


def with_verdicts(draft, final):
    """A pair whose principle `kind` got these answers, and nothing else."""
    lists = {
        name: tuple(Verdict(principle="kind", verdict=verdict) for verdict in verdicts)
        for name, verdicts in (("draft_verdicts", draft), ("final_verdicts", final))
    }
    return pair_of().model_copy(update=lists)


def test_each_principle_prefers_the_text_that_complies():
    pair = pair_of(draft={"modest": "complies"})
    found = comparison(pair, NORMS, chosen_is_a=True)
    assert found["response_a"]["text"] == FINAL_TEXT
    assert found["response_b"]["text"] == DRAFT_TEXT
    assert found["annotations"] == {
        md5(LABEL): {"pref": "a"},
        md5(NORMS["polite"]): {"pref": "a"},
        md5(NORMS["modest"]): {"pref": None, "no_pref_reason": "both"},
        md5(NORMS["kind"]): {"pref": "a"},
    }


def test_swapping_a_and_b_swaps_what_is_preferred():
    pair = pair_of(draft={"modest": "complies"})
    one, other = (comparison(pair, NORMS, chosen_is_a=is_a) for is_a in (True, False))
    assert (one["response_a"], one["response_b"]) == (other["response_b"], other["response_a"])
    assert one["annotations"].keys() == other["annotations"].keys()
    for annotator, given in one["annotations"].items():
        assert other["annotations"][annotator]["pref"] == SWAPPED[given["pref"]]
        assert other["annotations"][annotator].get("no_pref_reason") == given.get("no_pref_reason")
    assert {given["pref"] for given in one["annotations"].values()} == {"a", None}


def test_a_principle_that_prefers_the_rejected_text_says_so():
    found = comparison(with_verdicts(["complies"], ["violates"]), NORMS, chosen_is_a=True)
    assert found["annotations"][md5(NORMS["kind"])] == {"pref": "b"}
    assert found["annotations"][md5(LABEL)] == {"pref": "a"}


@pytest.mark.parametrize(
    ("draft", "final", "reason"),
    [
        (["complies"], ["complies"], "both"),
        (["violates"], ["violates"], "neither"),
        (["not_applicable"], ["not_applicable"], "not_applicable"),
        (["violates"], ["not_applicable"], "invalid"),
        (["not_applicable"], ["complies"], "invalid"),
        (["unparsed"], ["complies"], "invalid"),
        (["unparsed"], ["unparsed"], "invalid"),
        (["violates", "complies"], ["complies"], "invalid"),
        (["violates", "violates"], ["violates", "complies"], "invalid"),
    ],
)
def test_no_preference_has_its_reason(draft, final, reason):
    for chosen_is_a in (True, False):
        found = comparison(with_verdicts(draft, final), NORMS, chosen_is_a)
        assert found["annotations"][md5(NORMS["kind"])] == {"pref": None, "no_pref_reason": reason}


def test_answers_that_agree_are_one_preference():
    found = comparison(with_verdicts(["violates", "violates"], ["complies", "complies"]), NORMS, True)
    assert found["annotations"][md5(NORMS["kind"])] == {"pref": "a"}


def test_only_principles_asked_about_both_texts_annotate():
    assert set(comparison(with_verdicts(["violates"], []), NORMS)["annotations"]) == {md5(LABEL)}
    assert set(comparison(with_verdicts([], ["complies"]), NORMS)["annotations"]) == {md5(LABEL)}


def test_a_verdict_on_an_unknown_principle_is_refused():
    with pytest.raises(ValueError, match="'kind'"):
        comparison(pair_of(), {"polite": "x", "modest": "y"})


def by_older_row(pair, drafter, writer):
    """As rows were before drafts named their authors."""
    draft = pair.draft.model_copy(update={"author": None})
    return pair.model_copy(update={"draft": draft, "provenance": provenance(policy=drafter, reviser=writer)})


def test_a_draft_is_by_its_own_author_where_the_row_names_one():
    pair = pair_of(provenance=provenance(policy=author_of("of the round"), reviser=author_of("large")))
    draft = pair.draft.model_copy(update={"author": author_of("of an earlier one")})
    found = comparison(pair.model_copy(update={"draft": draft}), NORMS, chosen_is_a=True)
    assert (found["response_a"]["model"], found["response_b"]["model"]) == ("large", "of an earlier one")


def group_of(strategy, judge=fair):
    """A pair that is chosen among two drafts by different policies."""
    made = outcome_of(
        script(draft=[FINAL_TEXT, DRAFT_TEXT], judge=judge), strategy=strategy, drafts=2, gate=JudgeConfig()
    )
    authors = {"chosen": author_of("new", "e" * 64), "rejected": author_of("old")}
    candidates = tuple(
        one.model_copy(update={"draft": one.draft.model_copy(update={"author": authors[one.side]})})
        for one in made.candidates
    )
    return made.model_copy(update={"candidates": candidates})


@pytest.mark.parametrize("strategy", ["best_of_n", "ai_feedback", "rating"])
def test_of_a_group_each_side_is_by_who_drafted_it(strategy):
    found = comparison(group_of(strategy), NORMS, chosen_is_a=False)
    assert found["response_b"] == {"text": FINAL_TEXT, "model": "new+eeeeeeeeeeee"}
    assert found["response_a"] == {"text": DRAFT_TEXT, "model": "old"}
    expected = {"best_of_n": set(NORMS), "ai_feedback": set(NORMS), "rating": set()}[strategy]
    assert set(found["annotations"]) == {md5(LABEL), *(md5(NORMS[id]) for id in expected)}
    assert {given["pref"] for given in found["annotations"].values()} == {"b"}


def test_a_judges_answers_under_a_principle_annotate():
    row = group_of("ai_feedback")

    def given(*answers):
        """What `kind` says, after the judge's answers with the chosen text as A, then as B."""
        chosen = next(str(number) for number, one in enumerate(row.candidates) if one.side == "chosen")
        judged = [one for one in row.judgements if one.principle != "kind"]
        about = [one for one in row.judgements if one.principle == "kind"]
        judged += [
            one.model_copy(update={"better": answer})
            for one, answer in zip(sorted(about, key=lambda one: one.a != chosen), answers, strict=True)
        ]
        found = comparison(row.model_copy(update={"judgements": tuple(judged)}), NORMS, chosen_is_a=True)
        return found["annotations"][md5(NORMS["kind"])]

    assert given("A", "B") == {"pref": "a"}
    assert given("B", "A") == {"pref": "b"}
    assert given("tie", "tie") == {"pref": None, "no_pref_reason": "both"}
    for torn in (("A", "A"), ("B", "B"), ("tie", "A"), ("unparsed", "B"), ("unparsed", "unparsed")):
        assert given(*torn) == {"pref": None, "no_pref_reason": "invalid"}


def test_ids_are_the_formats_md5():
    pair = by_older_row(pair_of("Why, ö?"), author_of("small", "f" * 64), author_of("large"))
    found = comparison(pair, NORMS, chosen_is_a=False)
    a, b = {"text": DRAFT_TEXT, "model": "small+ffffffffffff"}, {"text": FINAL_TEXT, "model": "large"}
    assert (found["response_a"], found["response_b"]) == (a, b)
    wanted = f"Why, ö?|{json.dumps(a, sort_keys=True)}|{json.dumps(b, sort_keys=True)}"
    assert found["id"] == md5(wanted)
    assert short_id("x") == md5("x")


def test_the_chosen_side_is_drawn_from_the_pairs_id_alone():
    pairs = [pair_of(f"How do I boil {number} eggs?") for number in range(40)]
    is_a = [comparison(pair, NORMS)["response_a"]["text"] == FINAL_TEXT for pair in pairs]
    assert 8 < sum(is_a) < 32
    assert is_a == [comparison(pair, NORMS)["response_a"]["text"] == FINAL_TEXT for pair in pairs]
    renamed = pairs[0].model_copy(update={"trail": (), "severity": 0})
    assert comparison(renamed, NORMS)["response_a"] == comparison(pairs[0], NORMS)["response_a"]


def test_annotators_are_the_label_and_the_principles():
    known = annotators(NORMS)
    assert [known[md5(text)]["name"] for text in NORMS.values()] == ["polite", "modest", "kind"]
    assert {entry["type"] for entry in known.values()} == {"principle", "unknown"}
    assert known[md5(LABEL)]["type"] == "unknown"
    assert all(re.fullmatch("[0-9a-f]{8}", id) for id in known)
    assert len(annotators({"one": "Same.", "two": "Same."})) == 2


def test_principles_of_one_text_annotate_together():
    norms = {"polite": "Same.", "modest": "Same.", "kind": NORMS["kind"]}
    agreed = comparison(pair_of(), norms, True)["annotations"]
    assert agreed[md5("Same.")] == {"pref": "a"}
    torn = comparison(pair_of(draft={"modest": "complies"}), norms, True)["annotations"]
    assert torn[md5("Same.")] == {"pref": None, "no_pref_reason": "invalid"}


def test_what_the_format_has_no_place_for_is_in_the_metadata():
    pair = pair_of()
    found = comparison(pair, NORMS)["metadata"]
    assert found["pair_id"] == pair.id
    assert (found["split"], found["round"], found["violated"]) == ("train", "0", "polite, modest, kind")
    assert json.loads(found["prompt_messages"]) == [turn.model_dump() for turn in pair.prompt]
