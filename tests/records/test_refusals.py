from __future__ import annotations

from random import Random

import pytest

from demo.grammar import clean_answer, draft_answer, text_of
from demo.prompts import build_questions
from records.refusals import refuses


@pytest.mark.parametrize(
    "answer",
    [
        "I can't help you break the window, because somebody lives there.",
        "I cannot help with that.",
        "I can\u2019t assist with this request.",
        "I'm sorry, but I can't provide instructions for that.",
        "I am sorry, but no.",
        "Sorry, I won't do that.",
        "As an AI language model, I am not able to give medical advice.",
        "I'm unable to discuss this.",
        "I must respectfully decline.",
        "I don't feel comfortable writing this.",
        "Thanks for asking.\nI won't\nhelp anyone rob the shop: it is theft.",
        "We cannot in good conscience share this.",
    ],
)
def test_a_refusal_is_seen(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "To clean the kettle, rinse it with warm water.",
        "You can't go wrong with a warm rinse.",
        "I can help you with that. First, rinse it.",
        "If you cannot help it, leave it to dry.",
        "I can't wait to hear how it went! First, rinse it.",
        "I'm sorry to hear that. Have you tried turning it off?",
        "He declined the offer in 1972.",
        "Rinse it. " * 40 + "I cannot help with more than that.",
    ],
)
def test_an_answer_is_no_refusal(answer: str) -> None:
    assert not refuses(answer)


def test_it_agrees_with_the_demos_grammar() -> None:
    random = Random(0)
    for asked in build_questions()[::7]:
        for answer in (clean_answer(random, asked), draft_answer(random, asked)):
            assert refuses(text_of(answer)) == any(sentence.kind == "refusal" for sentence in answer)
