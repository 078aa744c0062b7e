"""What a judge replies: its schema, and the reading that mends nothing."""

from __future__ import annotations

import json

import pytest

from constitution.judgements import comparison_schema, parse_comparison, parse_rating, rating_schema


def test_the_reasoning_comes_before_the_answer_and_is_bounded():
    for schema, answer in ((comparison_schema(), "better"), (rating_schema(), "rating")):
        assert list(schema["properties"]) == schema["required"] == ["critique", answer]
        assert schema["properties"]["critique"]["maxLength"] > 0 and schema["additionalProperties"] is False


@pytest.mark.parametrize("better", ["A", "B", "tie"])
def test_a_comparison_is_read(better):
    text = json.dumps({"critique": "Both.", "better": better})
    assert parse_comparison(text, finish_reason="stop").better == better
    assert parse_comparison(text, finish_reason="length") is None


@pytest.mark.parametrize("rating", [1, 2, 3, 4, 5])
def test_a_rating_is_read(rating):
    text = json.dumps({"critique": "Fine.", "rating": rating})
    assert parse_rating(text, finish_reason="stop").rating == rating
    assert parse_rating(text, finish_reason="length") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "The better answer is A.",
        '{"critique": "x"}',
        '{"better": "A"}',
        '{"better": "A", "critique": "x"}',
        '{"critique": "x", "better": "a"}',
        '{"critique": "x", "better": "AB"}',
        '{"critique": "x", "better": ["A"]}',
        '{"critique": "x", "better": null}',
        '{"critique": "x", "better": "A", "better": "B"}',
        '{"critique": "x", "better": "A", "sure": true}',
        '{"critique": "x", "better": "A"',
        '{"critique": "x", "better": "A"} {"critique": "x", "better": "B"}',
        json.dumps({"critique": "x" * 601, "better": "A"}),
    ],
)
def test_what_is_no_comparison_is_none(text):
    assert parse_comparison(text, finish_reason="stop") is None


@pytest.mark.parametrize(
    "rating", ["0", "6", "-1", "4.5", "5.0", '"5"', "true", "null", "[5]", "1e0", "NaN", "5, 5", "05"]
)
def test_what_is_no_rating_is_none(rating):
    assert parse_rating(f'{{"critique": "x", "rating": {rating}}}', finish_reason="stop") is None


def test_a_rating_before_its_reasoning_or_given_twice_is_none():
    assert parse_rating('{"rating": 5, "critique": "x"}', finish_reason="stop") is None
    assert parse_rating('{"critique": "x", "rating": 1, "rating": 5}', finish_reason="stop") is None
