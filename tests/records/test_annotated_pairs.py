"""AnnotatedPairs: who prefers which side and why not, ids, and no side that always wins."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from records.annotated_pairs import LABEL, annotators, comparison, short_id
from records.rows import Pair, Verdict
from tests.generator.toy import CONSTITUTION, DRAFT_TEXT, FINAL_TEXT, outcome_of, prompt, provenance, script, verdict_on
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


def test_ids_are_the_formats_md5():
    drafter, writer = author_of("small", "f" * 64), author_of("large")
    pair = pair_of("Why, ö?", provenance=provenance(policy=drafter, reviser=writer))
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
    renamed = pairs[0].model_copy(update={"draft": None, "trail": (), "severity": 0})
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
