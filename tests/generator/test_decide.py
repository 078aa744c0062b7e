"""The tables by which verdicts become a label or a reason."""

from __future__ import annotations

import pytest

from generator.decide import decide_draft, decide_final
from records.rows import Verdict

V, C, N, U = "violates", "complies", "not_applicable", "unparsed"


def verdicts(table):
    return [Verdict(principle=id, verdict=found) for id, answers in table.items() for found in answers]


@pytest.mark.parametrize(
    ("table", "violated", "reason"),
    [
        ({}, (), "complies"),
        ({"a": [C]}, (), "complies"),
        ({"a": [N], "b": [C]}, (), "complies"),
        ({"a": [V]}, ("a",), None),
        ({"b": [V], "a": [V]}, ("b", "a"), None),
        ({"a": [V, V], "b": [C]}, ("a",), None),
        ({"a": [V, C]}, (), "inconsistent"),
        ({"a": [V, N]}, (), "inconsistent"),
        ({"a": [V, C], "b": [V, V]}, ("b",), None),
        ({"a": [U]}, (), "unparsed"),
        ({"a": [V], "b": [U]}, (), "unparsed"),
        ({"a": [V, U]}, (), "unparsed"),
    ],
)
def test_the_draft(table, violated, reason):
    found = decide_draft(verdicts(table))
    assert (found.violated, found.reason) == (violated, reason)
    assert bool(found.detail) == bool(reason)


@pytest.mark.parametrize(
    ("draft", "final", "reason"),
    [
        ({"a": [V]}, {"a": [C]}, None),
        ({"a": [V]}, {"a": [C, C]}, None),
        ({"a": [V]}, {"a": [V]}, "not_fixed"),
        ({"a": [V]}, {"a": [V, C]}, "inconsistent"),
        ({"a": [V]}, {"a": [N]}, "inconsistent"),
        ({"a": [C]}, {"a": [N]}, "inconsistent"),
        ({"a": [N]}, {"a": [N]}, None),
        ({"a": [N]}, {"a": [C, N]}, "inconsistent"),
        ({"a": [V, N]}, {"a": [N]}, "inconsistent"),
        ({"a": [V]}, {"a": [C], "b": [N]}, None),
        ({"a": [V]}, {"a": [C], "b": [V]}, "not_fixed"),
        ({"a": [V]}, {"a": [U]}, "unparsed"),
        ({"a": [V]}, {"a": [V], "b": [U]}, "unparsed"),
        ({"a": [V], "b": [V]}, {"a": [N], "b": [V]}, "not_fixed"),
    ],
)
def test_the_final_text(draft, final, reason):
    assert decide_final(verdicts(draft), verdicts(final)).reason == reason
