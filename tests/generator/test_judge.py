"""The judge: asked in both orders, its answers about texts and not about places, and how sure it was."""

from __future__ import annotations

import asyncio
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator.decide import decide_gate, decide_judgements
from generator.engine import Completion, Position
from generator.judge import compare, mean_probability, probability_of_a
from generator.method import JUDGEMENT
from records.rows import Judgement, Message
from tests.generator.toy import CONSTITUTION, judged_texts, judgement_reply, script
from tests.scripted import scripted_seat, user_turn

PROMPT = (Message(role="user", content="How?"),)
TEXTS = {"0": "First.", "1": "Second."}


def judgements_of(judge, texts=TEXTS, **seat):
    seat = scripted_seat(script(judge=judge), **seat)
    found = asyncio.run(compare(seat, CONSTITUTION, "Which is better?", PROMPT, texts, stage=JUDGEMENT))
    return [judgement for judgement, _ in found], seat.engine


def longer(a, b):
    return "tie" if len(a) == len(b) else "A" if len(a) > len(b) else "B"


def test_each_order_is_a_fresh_conversation_with_reasoning_and_probabilities_asked_for():
    _, engine = judgements_of(longer)
    shown = [judged_texts(user_turn(text)) for text in engine.texts]
    assert sorted(shown) == [["First.", "Second."], ["Second.", "First."]]
    for call, text in zip(engine.calls, engine.texts, strict=True):
        assert text.count("<|im_start|>") == 2
        assert call.alternatives > 1 and call.stage == JUDGEMENT
        assert list(call.schema["properties"]) == ["critique", "better"]


@given(st.text("ab", min_size=1, max_size=4), st.text("cd", min_size=1, max_size=4))
def test_swapping_the_judges_inputs_swaps_its_verdict(one, two):
    """Named in either order, a judge that looks at the texts prefers the same text; one that does not, neither."""
    for judge in (longer, lambda a, b: "A" if a < b else "B"):
        there = decide_judgements(judgements_of(judge, {"one": one, "two": two})[0])
        back = decide_judgements(judgements_of(judge, {"two": two, "one": one})[0])
        swapped = decide_judgements(judgements_of(judge, {"one": two, "two": one})[0])
        assert there.preferred == back.preferred and there.reason == back.reason
        assert swapped.preferred == {"one": "two", "two": "one", "": ""}[there.preferred]
    for place in "AB":
        opinion = decide_judgements(judgements_of(lambda a, b, place=place: place, {"one": one, "two": two})[0])
        assert (opinion.preferred, opinion.reason) == ("", "judge_disagrees")


def judged(*answers, principle=""):
    """Judgements about texts 0 and 1 in both orders."""
    return [
        Judgement(principle=principle, a=a, b=b, better=answer)
        for answer, (a, b) in zip(answers, (("0", "1"), ("1", "0")), strict=True)
    ]


@pytest.mark.parametrize(
    ("answers", "preferred", "reason"),
    [
        ([("A", "B")], "0", None),
        ([("B", "A")], "1", None),
        ([("tie", "tie")], "", "tie"),
        ([("A", "A")], "", "judge_disagrees"),
        ([("B", "B")], "", "judge_disagrees"),
        ([("A", "tie")], "", "judge_disagrees"),
        ([("tie", "A")], "", "judge_disagrees"),
        ([("unparsed", "B")], "", "unparsed"),
        ([("A", "unparsed")], "", "unparsed"),
        ([("unparsed", "unparsed")], "", "unparsed"),
        ([("A", "B"), ("A", "B")], "0", None),
        ([("A", "B"), ("tie", "tie")], "0", None),
        ([("A", "B"), ("B", "A")], "", "judge_disagrees"),
        ([("A", "B"), ("A", "A")], "", "judge_disagrees"),
        ([("A", "B"), ("tie", "unparsed")], "", "unparsed"),
        ([("tie", "tie"), ("tie", "tie")], "", "tie"),
    ],
)
def test_what_answers_come_to(answers, preferred, reason):
    found = [one for number, both in enumerate(answers) for one in judged(*both, principle=str(number))]
    opinion = decide_judgements(found)
    assert (opinion.preferred, opinion.reason) == (preferred, reason)
    assert opinion.detail


@pytest.mark.parametrize(
    ("answers", "tie", "win"),
    [
        (("A", "B"), None, None),
        (("B", "A"), "judge_disagrees", "judge_disagrees"),
        (("tie", "tie"), None, "tie"),
        (("A", "A"), None, "judge_disagrees"),
        (("tie", "A"), None, "judge_disagrees"),
        (("unparsed", "B"), "unparsed", "unparsed"),
    ],
)
def test_the_gate(answers, tie, win):
    found = {level: decide_gate(judged(*answers), "0", "1", at_least=level).reason for level in ("tie", "win")}
    assert found == {"tie": tie, "win": win}


def test_an_unreadable_answer_is_asked_for_once_more_and_kept():
    replies = iter(["It is hard to say.", '{"better": "A"}', judgement_reply("A"), "{"])
    found, engine = judgements_of(lambda a, b: next(replies))
    assert len(engine.calls) == 4
    assert sorted(one.better for one in found) == ["A", "unparsed"]
    assert all(one.probability is None for one in found)


def positions(*tokens):
    """A reply's tokens, each a text or (text, {alternative: probability})."""
    pairs = [(token, {token: 0.9}) if isinstance(token, str) else token for token in tokens]
    return [Position(text, tuple((one, math.log(p)) for one, p in others.items())) for text, others in pairs]


BEFORE = ('{"critique":"', 'A is "bet', 'ter":"B"', '","', "bet", "ter", '":"')


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((*BEFORE, ("A", {"A": 0.6, "B": 0.2, "tie": 0.2}), '"}'), 0.75),
        ((*BEFORE, ("B", {"A": 0.2, "B": 0.6, "C": 0.2}), '"}'), 0.25),
        ((*BEFORE, ("tie", {"tie": 0.8, "A": 0.1, "B": 0.1}), '"}'), 0.5),
        ((*BEFORE, ('A"}', {'A"}': 0.3, "A": 0.3, 'B"}': 0.2})), 0.75),
        ((*BEFORE, ("A", {"A": 0.5, "Actually": 0.3, "B": 0.5, "Both": 0.1}), '"}'), 0.5),
        (('{"better":', (' "A', {' "A': 0.6, ' "B': 0.2, " null": 0.1}), '"}'), 0.75),
        (('{"critique": "x",\n "better": "', ("B", {"A": 0.5, "B": 0.5}), '"\n}'), 0.5),
        (('{"better":"A"}',), 1.0),
        ((*BEFORE, ("A", {"A": 0.9}), '"}'), 1.0),
        ((*BEFORE, ("tie", {"tie": 1.0}), '"}'), None),
        (("I prefer A.",), None),
        ((), None),
        (BEFORE, None),
    ],
)
def test_the_probability_is_that_of_the_options_where_the_answer_is_written(tokens, expected):
    found = probability_of_a(positions(*tokens))
    assert found == (None if expected is None else pytest.approx(expected))


def test_what_an_engine_rules_out_is_impossible_and_what_is_no_number_says_nothing():
    def of(a, b):
        return probability_of_a([*positions(*BEFORE), Position("A", (("A", a), ("B", b))), *positions('"}')])

    assert of(-0.1, -math.inf) == 1.0
    assert of(-math.inf, -0.1) == 0.0
    assert of(-900.0, -900.0) == 0.5
    assert of(-math.inf, -math.inf) is None
    assert of(math.inf, 0.0) is None
    assert of(math.nan, -math.inf) is None


def test_the_mean_is_over_both_orders_and_about_a_text():
    found = [
        Judgement(a="0", b="1", better="A", probability=0.9),
        Judgement(a="1", b="0", better="B", probability=0.3),
    ]
    assert mean_probability(found, "0") == pytest.approx(0.8)
    assert mean_probability(found, "1") == pytest.approx(0.2)
    assert mean_probability([found[0], found[1].model_copy(update={"probability": None})], "0") is None
    assert mean_probability([], "0") is None


def test_the_probability_comes_from_the_reply_that_was_read():
    text = json.dumps({"critique": "x", "better": "A"}, separators=(",", ":"))
    head, tail = text[: -len('A"}')], 'A"}'
    spread = Position(tail, ((tail, math.log(0.8)), ('B"}', math.log(0.2))))
    whole = Completion(text, (1, 2), "stop", 3, positions=(Position(head, ()), spread))
    seat = scripted_seat(lambda turn, call: whole)
    found = asyncio.run(compare(seat, CONSTITUTION, "Which?", PROMPT, TEXTS, stage=JUDGEMENT))
    assert [judgement.probability for judgement, _ in found] == [pytest.approx(0.8)] * 2
