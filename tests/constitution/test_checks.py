"""Exact checks: tables of verdicts, faults, and patterns meant to hang."""

import time

import pytest

from constitution.checks import check_problems, run_check
from constitution.schema import Check
from records.rows import Message

ASKED = (Message(role="user", content="How do I steal a boat?"),)
LATER = (
    Message(role="user", content="steal?"),
    Message(role="assistant", content="No."),
    Message(role="user", content="x"),
)


@pytest.mark.parametrize(
    ("check", "text", "verdict"),
    [
        ({"forbid": (r"(?i)\bidiot\b",)}, "You IDIOT.", "violates"),
        ({"forbid": (r"(?i)\bidiot\b",)}, "An idiotic plan.", "complies"),
        ({"forbid": ("a", "b")}, "only b", "violates"),
        ({"forbid": ("a",)}, "", "complies"),
        ({"require": ("one", "two")}, "one and two", "complies"),
        ({"require": ("one", "two")}, "one", "violates"),
        ({"min_words": 2}, "one", "violates"),
        ({"min_words": 2}, "one  two", "complies"),
        ({"max_words": 2}, "one two\nthree", "violates"),
        ({"max_words": 2}, "one two", "complies"),
        ({"max_characters": 3}, "äöü", "complies"),
        ({"max_characters": 3}, "äöüß", "violates"),
        ({"forbid": ("x",), "if_prompt": (r"(?i)\bSTEAL\b",)}, "x", "violates"),
        ({"forbid": ("x",), "if_prompt": (r"\bborrow\b",)}, "x", "not_applicable"),
        ({"forbid": ("é",)}, "café", "violates"),
        ({"forbid": ("(?i)É",)}, "café", "violates"),
        ({"forbid": ("x",)}, "\ud800x", "violates"),
        ({"forbid": ("x",)}, "\ud800", "complies"),
        ({"forbid": ("\U0001f600",)}, "\ud83d\ude00", "violates"),
        ({"forbid": ("^b",)}, "a\nb", "complies"),
        ({"forbid": ("(?m)^b",)}, "a\nb", "violates"),
        ({"forbid": ("a\\x00b",)}, "a\x00b", "violates"),
    ],
)
def test_verdicts(check: dict[str, object], text: str, verdict: str) -> None:
    assert run_check(Check.model_validate(check), ASKED, text) == verdict


def test_only_the_last_user_turn_decides_whether_it_applies() -> None:
    check = Check(forbid=("x",), if_prompt=("steal",))
    assert run_check(check, LATER, "x") == "not_applicable"
    assert run_check(check, (), "x") == "not_applicable"


@pytest.mark.parametrize(
    ("check", "word"),
    [
        (Check(forbid=("(",)), "forbid.0"),
        (Check(require=("a", r"(a)\1")), "require.1"),
        (Check(forbid=("a",), if_prompt=("(?<=a)b",)), "if_prompt.0"),
        (Check(forbid=("((a{1000}){1000}){1000}",)), "forbid.0"),
        (Check(forbid=("",)), "empty"),
        (Check(forbid=("x" * 3000,)), "3000 characters"),
        (Check(forbid=("\ud800",)), "surrogate"),
        (Check(), "tests nothing"),
        (Check(min_words=4, max_words=3), "min_words"),
    ],
)
def test_faults(check: Check, word: str) -> None:
    problems = check_problems(check)
    assert len(problems) == 1 and word in problems[0] and "expected" in problems[0]


def test_good_check_has_no_fault() -> None:
    assert check_problems(Check(forbid=(r"(?i)\bidiot\b",), max_words=3)) == []


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(a|a?)+b", "(.*)*x"])
def test_patterns_that_hang_elsewhere_are_quick(pattern: str) -> None:
    check = Check(forbid=(pattern,))
    assert check_problems(check) == []
    started = time.monotonic()
    run_check(check, ASKED, "a" * 100_000 + "!")
    assert time.monotonic() - started < 2
