"""Near-duplicates: what counts as one, that none is missed or made up, and that order does not matter."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from records.near import may_be_near, n_bands, near_duplicates, sketch
from records.splits import content_words

WORDS = [f"word{number}" for number in range(3000)]


def duplicates(rows, similarity=0.95, **options):
    """By the ids in their order; also checks that only rows that may be near are asked for again."""
    sketches = [(id, sketch(texts, similarity)) for id, texts in rows.items()]
    asked = []

    def texts_of(wanted):
        asked.extend(wanted)
        return ((id, rows[id]) for id in wanted)

    found = near_duplicates(sketches, texts_of, similarity, **options)
    assert set(asked) <= may_be_near(sketches)
    assert set(found) | set(found.values()) <= may_be_near(sketches)
    return found


def alike(left, right):
    """The similarity as it is defined, straight from the words."""
    mine, other = Counter(content_words(left)), Counter(content_words(right))
    return (mine & other).total() / (mine | other).total()


def text_of(source, length):
    return " ".join(source.choices(WORDS, k=length))


def changed(source, text, count):
    words = text.split()
    for place in source.sample(range(len(words)), count):
        words[place] = source.choice(WORDS)
    return " ".join(words)


def test_short_questions_that_differ_in_one_word_stay_apart():
    things = ["oven", "sink", "kettle", "roof", "boat", "lamp"]
    rows = {f"{thing}-{verb}": [f"How do I {verb} the {thing}?"] for thing in things for verb in ("clean", "mend")}
    for similarity in (0.8, 0.95, 1.0):
        assert duplicates(rows, similarity) == {}


def test_the_same_question_in_other_function_words_is_one():
    rows = {"a": ["How do I clean the oven?"], "b": ["Please tell me how to CLEAN my  oven!"], "c": ["Clean ovens?"]}
    assert duplicates(rows) == {"b": "a"} == duplicates(rows, 1.0)


@pytest.mark.parametrize(("words", "apart"), [(10, True), (38, True), (39, False), (200, False)])
def test_one_word_of_many_is_a_near_duplicate_from_39_words_on(words, apart):
    one = " ".join(WORDS[:words])
    rows = {"a": [one], "b": [one.replace("word5 ", "another ")], "c": [" ".join(WORDS[300 : 300 + words])]}
    assert duplicates(rows) == ({} if apart else {"b": "a"})
    assert duplicates(rows, 1.0) == {}


@pytest.mark.parametrize("field", [0, 1, 2])
def test_each_text_must_be_alike_however_long_the_others_are(field):
    """A shared page of text does not make two questions one."""
    page, answer = " ".join(WORDS[:400]), " ".join(WORDS[500:900])
    rows = {"a": [page, "Clean the oven?", answer], "b": [page, "Clean the oven?", answer]}
    assert duplicates(rows) == {"b": "a"}
    rows["b"] = [*rows["b"][:field], "Clean the sink?", *rows["b"][field + 1 :]]
    assert duplicates(rows) == {}


def test_nothing_is_made_up_and_hardly_anything_missed():
    source = random.Random(3)
    rows, near = {}, set()
    for number in range(400):
        text = text_of(source, source.randint(20, 300))
        rows[f"{number:03d}-a"] = [text]
        other = changed(source, text, max(1, round(len(text.split()) * source.choice([0.01, 0.02, 0.05, 0.2]))))
        rows[f"{number:03d}-b"] = [other]
        if alike(text, other) >= 0.95:
            near.add(f"{number:03d}-b")
    found = duplicates(rows)
    assert 100 < len(near) < 300
    assert set(found) == near
    assert all(other == id.replace("b", "a") for id, other in found.items())


def test_rows_just_alike_enough_are_missed_once_in_a_thousand():
    for similarity in (0.8, 0.9, 0.95, 0.99):
        assert (1 - similarity**12) ** n_bands(similarity) <= 1e-3


def test_the_first_that_stays_is_named_and_a_chain_does_not_drift_away():
    words = WORDS[:100]
    rows = {f"{step}": [" ".join([*words[step:], *WORDS[500 : 500 + step]])] for step in range(0, 8)}
    # Each differs from the one before in one word of a hundred; the limit is reached after two.
    assert duplicates(rows) == {"1": "0", "2": "0", "4": "3", "5": "3", "7": "6"}


def test_equal_rows_share_the_fate_of_the_first():
    text = " ".join(WORDS[:100])
    near = text.replace("word5 ", "another ")
    assert duplicates({"a": [text], "b": [near], "c": [near], "d": [text]}) == {"b": "a", "c": "a", "d": "a"}


def test_rows_of_a_group_are_alike_on_purpose():
    text = " ".join(WORDS[:100])
    rows = {"a": [text], "b": [text.replace("word5 ", "another ")], "c": [text.upper()]}
    assert duplicates(rows, groups={"a": "g", "b": "g", "c": "g"}) == {"c": "a"}
    assert duplicates(rows, groups={"a": "g", "b": "h"}) == {"b": "a", "c": "a"}


def test_hostile_texts_are_texts():
    texts = ["", " ", "\ud800", "\x00", "the of and", "猫" * 5000, "a" * 100_000, "\u202e", "1 2 3"]
    rows = {str(index): [text, text] for index, text in enumerate(texts)}
    assert duplicates(rows) == {"1": "0"}
    assert duplicates({"a": ["x " * 5000], "b": ["x " * 4990], "c": ["x " * 4000]}) == {"b": "a"}


def test_thousands_of_one_template_take_no_square_of_their_number():
    """The page is shared and the matter differs, so all share bands and few are duplicates; this once took hours."""
    page = WORDS[:180]
    source = random.Random(1)
    rows = {f"{number:04d}": [" ".join([*page, *source.sample(WORDS[500:], 12)])] for number in range(1500)}
    assert duplicates(rows) == {}
