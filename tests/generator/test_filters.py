"""Which pairs are left out again, and that nothing but the pairs themselves decides it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generator.config import FilterConfig
from generator.filters import FILTER_REASONS, decide
from records.pair_texts import PairTexts

LONG = " ".join(f"word{number}" for number in range(60))
NEAR = LONG.replace("word7 ", "another ")
NOT_NEAR = NEAR.replace("word8 ", "one ").replace("word9 ", "third ")


def pair(id, prompt="p", chosen="good", rejected="bad", split="train", before=""):
    return PairTexts(id, split, before, prompt, chosen, rejected)


def decided(*pairs, seed=0, **changes):
    """The decisions, which are the same in every order of the pairs."""
    found = [decide(random.Random(n).sample(pairs, len(pairs)), FilterConfig(**changes), seed) for n in range(3)]
    assert found[0] == found[1] == found[2]
    return found[0]


def reasons(*pairs, **changes):
    return {id: reason for id, (reason, _) in decided(*pairs, **changes).items()}


def test_a_pair_and_its_opposite_both_go_and_name_each_other():
    found = decided(pair("a", "p", "x", "y"), pair("b", "P ", "Y", "x"), pair("c", "p", "x", "z"))
    assert found == {
        "a": ("contradictory", "pair b prefers the other one of the same two texts"),
        "b": ("contradictory", "pair a prefers the other one of the same two texts"),
    }
    assert reasons(pair("a", "p", "x", "y"), pair("b", "p", "y", "x"), contradictions="keep") == {}


def test_of_duplicates_the_smallest_id_stays():
    pairs = [
        pair("b", chosen="Good."),
        pair("a", chosen="good."),
        pair("c", chosen="GOOD .  "),
        pair("d", chosen="fine"),
    ]
    assert decided(*pairs)["b"] == ("duplicate", "says the same as pair a")
    assert decided(*pairs)["c"] == ("duplicate", "says nearly the same as pair a")
    assert reasons(*pairs) == {"b": "duplicate", "c": "duplicate"}
    assert reasons(*pairs, duplicates="exact") == {"b": "duplicate"}
    assert reasons(*pairs, duplicates="keep") == {}


@pytest.mark.parametrize(
    ("other", "is_one"),
    [
        ({"prompt": f"{NEAR}"}, True),
        ({"chosen": f"{NEAR}"}, True),
        ({"rejected": f"{NEAR}", "chosen": f"{NEAR}"}, True),
        ({"prompt": NOT_NEAR}, False),
        ({"chosen": NOT_NEAR}, False),
        ({"rejected": NOT_NEAR}, False),
        ({"chosen": "good"}, False),
        ({"prompt": "p"}, False),
        ({"before": "user\x00Hello."}, False),
    ],
)
def test_prompt_chosen_and_rejected_must_all_be_nearly_the_same(other, is_one):
    """Several drafts of one prompt are several pairs."""
    known = {"prompt": LONG, "chosen": LONG, "rejected": LONG}
    found = reasons(pair("a", **known), pair("b", **known | other), contradictions="keep")
    assert found == ({"b": "duplicate"} if is_one else {})
    if other in ({"prompt": NEAR}, {"chosen": NEAR}):
        assert reasons(pair("a", **known), pair("b", **known | other), similarity=1.0) == {}


def test_short_template_questions_with_the_same_answers_stay_apart():
    assert (
        reasons(*(pair(thing, f"How do I clean the {thing}?", LONG, NEAR) for thing in ("oven", "sink", "pan"))) == {}
    )


def test_a_validation_pair_stays_before_a_train_pair():
    assert reasons(pair("a", split="train"), pair("b", split="validation")) == {"a": "duplicate"}


def test_opposites_go_before_duplicates_are_looked_for():
    pairs = [pair("a", "p", "x", "y"), pair("b", "p", "x", "y"), pair("c", "p", "y", "x")]
    assert set(reasons(*pairs).values()) == {"contradictory"}
    assert reasons(*pairs, contradictions="keep") == {"b": "duplicate"}


def lengths(gaps, **columns):
    """Pairs of different prompts whose chosen text is so much longer than the rejected one."""
    return [
        pair(f"{index:03d}", f"p{index}", "x" * (100 + max(gap, 0)), "y" * (100 - min(gap, 0)), **columns)
        for index, gap in enumerate(gaps)
    ]


def mean(values):
    return sum(values) / len(values)


def test_length_balance_leaves_as_many_longer_as_shorter():
    source = random.Random(5)
    pairs = lengths([source.choice([-1, -1, -1, 1]) * source.randint(0, 90) for _ in range(2000)])
    found = decided(*pairs, length_balance=True)
    left = [one.gap for one in pairs if one.id not in found]
    before = [one.gap for one in pairs]
    assert mean(before) < -20 and abs(mean(left)) < 1
    assert sum(gap > 0 for gap in left) == sum(gap < 0 for gap in left) == sum(gap > 0 for gap in before)
    assert sum(gap == 0 for gap in left) == sum(gap == 0 for gap in before) > 0
    assert {reason for reason, _ in found.values()} == {"length_balance"}
    assert reasons(*pairs) == {}


def test_which_are_left_out_for_balance_follows_from_the_seed():
    pairs = lengths([10] * 40 + [-10] * 10)
    first, again, other = (set(decided(*pairs, seed=seed, length_balance=True)) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == len(other) == 30


def test_each_split_is_balanced_on_its_own():
    held_out = [pair(id, id, "longer" * longer, "text", split="validation") for id, longer in (("v1", 3), ("v2", 0))]
    held_out[1] = held_out[1]._replace(chosen="text", rejected="longer" * 3)
    pairs = [*lengths([10, 10, -10]), *held_out]
    found = decided(*pairs, length_balance=True)
    assert len(found) == 1 and not {"v1", "v2"} & set(found)


def test_what_is_balanced_is_what_the_other_filters_left():
    pairs = lengths([10, -10])
    again = [pairs[0]._replace(id=f"9{number}") for number in range(5)]
    assert set(reasons(*pairs, *again, length_balance=True).values()) == {"duplicate"}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_deciding_again_on_what_is_left_leaves_out_nothing_more(data):
    text, split = st.sampled_from(["x", "y", "x y", LONG, NEAR]), st.sampled_from(["train", "validation"])
    drawn = data.draw(st.lists(st.tuples(text, text, text, split), max_size=12))
    pairs = [pair(str(index), *columns) for index, columns in enumerate(drawn)]
    filters = FilterConfig(length_balance=data.draw(st.booleans()))
    found = decide(pairs, filters, 0)
    assert {reason for reason, _ in found.values()} <= set(FILTER_REASONS)
    assert decide([one for one in pairs if one.id not in found], filters, 0) == {}
    # Nothing is left out without a cause: each names a pair, or a direction.
    assert all(("pair " in words) or reason == "length_balance" for reason, words in found.values())
