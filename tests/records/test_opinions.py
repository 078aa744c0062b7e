"""Pairs that say the opposite of each other."""

from __future__ import annotations

import random

from records.opinions import opinion, opposites
from records.rows import Message


def against(*pairs):
    """Pairs as (id, prompt, chosen, rejected); in three orders, which must not matter."""
    found = [opposites(opinion(*pair) for pair in random.Random(seed).sample(pairs, len(pairs))) for seed in range(3)]
    assert found[0] == found[1] == found[2]
    return found[0]


def test_the_same_two_texts_the_other_way_round():
    assert against(("a", "p", "x", "y"), ("b", "p", "y", "x"), ("c", "q", "y", "x")) == {"a": "b", "b": "a"}


def test_case_width_and_white_space_do_not_hide_it():
    assert against(("a", "Why?", "Yes, it is.", "No"), ("b", " why？ ", "NO", "yes, it\nis. ")) == {"a": "b", "b": "a"}


def test_another_text_or_the_same_order_is_no_contradiction():
    assert against(("a", "p", "x", "y"), ("b", "p", "x", "y"), ("c", "p", "y", "z"), ("d", "p", "z", "x")) == {}


def test_all_of_a_contradiction_are_named_with_the_smallest_against_them():
    pairs = [("c", "p", "x", "y"), ("a", "p", "x", "y"), ("d", "p", "y", "x"), ("b", "p", "y", "x")]
    assert against(*pairs) == {"a": "b", "c": "b", "b": "a", "d": "a"}


def test_sides_that_differ_in_case_alone_are_compared_as_they_stand():
    """Under a principle against shouting, that is all there is to a pair; it does not contradict itself."""
    calm, loud = "Stop that.", "STOP THAT."
    assert against(("a", "p", calm, loud), ("b", "p", calm, loud)) == {}
    assert against(("a", "p", calm, loud), ("b", "p", loud, calm)) == {"a": "b", "b": "a"}
    assert against(("a", "p", "x", "x")) == {}


def test_conversations_are_compared_turn_by_turn():
    asked = (
        Message(role="user", content="Hi."),
        Message(role="assistant", content="Yes?"),
        Message(role="user", content="So."),
    )
    joined = (Message(role="user", content="Hi. Yes? So."),)
    x, y = (Message(role="assistant", content="x"),), (Message(role="assistant", content="y"),)
    assert against(("a", asked, x, y), ("b", asked, y, x)) == {"a": "b", "b": "a"}
    assert against(("a", asked, x, y), ("b", joined, y, x)) == {}
    assert against(("a", "p", "\ud800", "y"), ("b", "p", "y", "\ud800")) == {"a": "b", "b": "a"}
