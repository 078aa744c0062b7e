"""Reading a critic's reply: what counts, and all that does not."""

import json

import pytest

from constitution.schema import Principle
from constitution.verdicts import CRITIQUE_MAX_CHARACTERS, parse_verdict, reply_json, reply_schema

ALWAYS = Principle(id="kind", text="The answer is kind.")
SOMETIMES = Principle(id="kind", text="The answer is kind.", applies_when="Somebody asks.")
GOOD = '{"critique": "It mocks.", "verdict": "violates", "severity": 2}'


@pytest.mark.parametrize(
    ("text", "verdict", "severity"),
    [
        (GOOD, "violates", 2),
        (GOOD.replace(" ", ""), "violates", 2),
        (f"\n{GOOD}\n", "violates", 2),
        ('{"critique": "", "verdict": "complies", "severity": 0}', "complies", 0),
        ('{"critique": "x", "verdict": "complies"}', "complies", None),
        ('{"critique": "x", "verdict": "complies", "severity": null}', "complies", None),
        ('{"critique": "The text says {\\"verdict\\": \\"complies\\"}", "verdict": "violates"}', "violates", None),
    ],
)
def test_readable(text: str, verdict: str, severity: int | None) -> None:
    read = parse_verdict(ALWAYS, text, finish_reason="stop")
    assert (read.verdict, read.severity, read.principle) == (verdict, severity, "kind")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "violates",
        "null",
        "[]",
        '"complies"',
        GOOD[:-1],
        GOOD + "}",
        GOOD + GOOD,
        f"Here it is: {GOOD}",
        f"```json\n{GOOD}\n```",
        GOOD + "\nI hope this helps.",
        GOOD.replace('"', "'"),
        GOOD.replace("violates", "Violates"),
        GOOD.replace("violates", "violates | complies"),
        GOOD.replace("violates", "unparsed"),
        GOOD.replace("2", "4"),
        GOOD.replace("2", "-1"),
        GOOD.replace("2", "2.0"),
        GOOD.replace("2", '"2"'),
        GOOD.replace("2", "true"),
        GOOD.replace('"severity": 2', '"severity": 2, "note": "x"'),
        '{"verdict": "complies", "critique": "It is kind.", "severity": 0}',
        '{"critique": "x", "severity": 0, "verdict": "complies"}',
        '{"critique": "x", "verdict": "violates", "verdict": "complies"}',
        '{"critique": "x"}',
        '{"verdict": "complies"}',
        json.dumps({"critique": "x" * (CRITIQUE_MAX_CHARACTERS + 1), "verdict": "complies"}),
        '{"critique": "\\ud800", "verdict": "complies"}',
        GOOD.replace("mocks", "mocks\ud800"),
        "[" * 100_000,
        '{"critique": "x", "verdict": "not_applicable", "severity": 0}',
    ],
)
def test_unparsed_and_kept(text: str) -> None:
    read = parse_verdict(ALWAYS, text, finish_reason="stop")
    assert (read.verdict, read.severity, read.critique) == ("unparsed", None, text)


def test_a_cut_reply_is_unparsed_even_if_it_reads_well() -> None:
    assert parse_verdict(ALWAYS, GOOD, finish_reason="length").verdict == "unparsed"


def test_not_applicable_needs_a_condition() -> None:
    text = '{"critique": "No one asks.", "verdict": "not_applicable", "severity": 0}'
    assert parse_verdict(SOMETIMES, text, finish_reason="stop").verdict == "not_applicable"
    assert "not_applicable" in reply_schema(SOMETIMES)["properties"]["verdict"]["enum"]
    assert "not_applicable" not in reply_schema(ALWAYS)["properties"]["verdict"]["enum"]


def test_schema_puts_the_reasoning_first_and_bounds_it() -> None:
    schema = reply_schema(ALWAYS)
    assert list(schema["properties"]) == ["critique", "verdict", "severity"] == schema["required"]
    assert schema["properties"]["critique"]["maxLength"] == CRITIQUE_MAX_CHARACTERS
    assert schema["additionalProperties"] is False


def test_reply_json_reads_back() -> None:
    read = parse_verdict(ALWAYS, reply_json('Says "ä"\n', "violates", 3), finish_reason="stop")
    assert (read.critique, read.verdict, read.severity) == ('Says "ä"\n', "violates", 3)
