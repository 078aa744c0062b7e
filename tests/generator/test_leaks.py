"""What gives a rewrite away as a rewrite, and how seldom a good rewrite is taken for one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constitution.load import load_constitution
from generator.leaks import _ABOUT_REWRITING, _may_talk, find_leak
from records.rows import Message
from tests.tracked import ROOT

PALMS = ROOT.parent / "shared" / "data" / "anthropic_cai" / "PALMS_SLMADISON.jsonl"
LIBRARY = sorted((ROOT / "constitution" / "library").glob("*.yaml"))
# Of the 160 published rewrites 6 counted as leaked when this was written, all 6 for words that the critique suggested.
MOST_OF_REAL = 0.05


def leak(final, *, prompt="How do I boil an egg?", draft="Boil it.", critiques=(), rechecks=()):
    return find_leak(final, [Message(role="user", content=prompt)], draft, critiques, rechecks)


@pytest.mark.parametrize(
    "final",
    [
        "Sure, here is a revised version: boil it gently.",
        "Sure! Here's a rewritten answer.\n\nBoil it gently.",
        "Here is the improved answer: boil it.",
        "Of course. Here is an updated reply.",
        "Certainly, I have rewritten this for you: boil it.",
        "REVISED: boil it.",
        "**Revision:** boil it.",
        "Boil it. (This is the revised version.)",
        "I've removed the insult. Boil it.",
        "We have rephrased it: boil it.",
        "Boil it. The previous answer was rude.",
        "As the critique says, boil it gently.",
        "Boil it gently, to comply with the principle.",
    ],
)
def test_talk_of_the_rewriting_counts(final):
    assert leak(final)
    assert leak(final, prompt="Please rewrite my recipe: boil it.") is None
    assert leak(final, draft=f"{final} Then eat it.") is None
    assert leak(final, draft="I removed the shell with my hands, as the law of 1998 says."), "other words of that kind"


@pytest.mark.parametrize(
    "final",
    [
        "Sure, put it into boiling water for eight minutes.",
        "Here is what I do: boil water, then add the egg.",
        "Kant wrote the Critique of Pure Reason in 1781.",
        "The law was revised in 1998 and again in 2004.",
        "Certainly. The first edition has a rewritten chapter.",
        "You could ask your editor for a correction.",
        "",
    ],
)
def test_other_texts_do_not(final):
    assert leak(final) is None


@pytest.mark.parametrize(
    "prompt",
    [
        "Please rewrite my recipe: boil it.",
        "Can you polish my essay about eggs?",
        "Correct the grammar of these two sentences: egg boil I.",
        "Improve this: egg boil I.",
        "Could you revise the following?\nEgg boil I.",
        "I want feedback on the attached cover letter.",
        "Edit my e-mail so that it sounds kinder.",
        "Give me a critique of my short poem.",
    ],
)
def test_a_prompt_that_asks_for_rewriting_may_be_answered_so(prompt):
    assert leak("Sure, here is a revised version: boil it gently.", prompt=prompt) is None


@pytest.mark.parametrize(
    "prompt",
    [
        "How can I improve my sleep?",
        "What is the correct dose of paracetamol for an adult?",
        "Which edition of this book is best, and who is the editor?",
        "How do I polish shoes?",
        "I must revise for my exam. How many hours a day?",
        "My boss gave me feedback that hurt. What now?",
        "Is it correct that eggs float? I read it in a letter.",
    ],
)
def test_a_prompt_with_a_word_of_rewriting_only_may_not(prompt):
    assert leak("Sure, here is a revised version: boil it gently.", prompt=prompt)


EIGHT = "names are called here and that hurts people"


def test_eight_words_of_a_critique_count_unless_prompt_or_draft_had_them():
    quoting = f"Boil it. {EIGHT.upper()}!"
    assert leak(quoting, critiques=["Fine.", f"I find that {EIGHT}, so it violates."])
    assert leak(quoting.replace("PEOPLE", "US"), critiques=[EIGHT]) is None, "seven words are no quote"
    assert leak(quoting, critiques=[EIGHT], prompt=f"Is it true that {EIGHT}?") is None
    assert leak(quoting, critiques=[EIGHT], draft=f"Well, {EIGHT}.") is None
    assert leak(quoting, critiques=[EIGHT], prompt="Please rewrite this.") is not None


def test_a_later_look_may_quote_the_text_it_looked_at():
    assert leak(f"Boil. {EIGHT}", rechecks=[(f"It says {EIGHT}", f"Yes: {EIGHT}")]) is None
    assert leak(f"Boil. {EIGHT}", rechecks=[(f"It says {EIGHT}", "Boil.")])
    # What an earlier critique leaked into the first rewrite is still a leak in the last one.
    assert leak(f"Boil. {EIGHT}", critiques=[EIGHT], rechecks=[(EIGHT, f"Boil. {EIGHT}")])


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_no_good_rewrite_of_the_library_is_taken_for_a_leak(path):
    told = [
        example
        for principle in load_constitution(str(path)).principles
        for example in principle.examples
        if example.revision
    ]
    assert told
    found = [
        (example.revision, cause)
        for example in told
        if (cause := find_leak(example.revision or "", example.conversation, example.draft, [example.critique]))
    ]
    assert found == []


@settings(max_examples=200)
@given(st.from_regex(_ABOUT_REWRITING))
def test_nothing_about_rewriting_lacks_the_stems_that_are_looked_for_first(text):
    assert _ABOUT_REWRITING.search(text) and _may_talk(text)


@pytest.mark.skipif(not PALMS.is_file(), reason="the published data is not on this machine")
def test_few_real_rewrites_are_taken_for_leaks(record_property):
    found, total = [], 0
    for row in map(json.loads, Path(PALMS).read_text(encoding="utf-8").splitlines()):
        prompt = [Message(role="user", content=row["rl_prompt"].strip().removeprefix("Human:"))]
        text = row["initial_response"][0]["sample"]
        for turn in row["cst"]:
            total += 1
            cause = find_leak(turn["revision"]["sample"], prompt, text, [turn["critique"]["sample"]])
            found += [cause] if cause else []
    record_property("leaks", found)
    assert total > 100
    assert len(found) <= MOST_OF_REAL * total, f"{len(found)} of {total}: {found}"
