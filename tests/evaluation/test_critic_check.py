"""Labelled cases and the figures made of a critic's answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from constitution.render import critique_request, verify_request
from evaluation.critic_cases import (
    ComparisonCase,
    VerdictCase,
    example_cases,
    read_comparison_cases,
    read_verdict_cases,
)
from evaluation.critic_check import (
    ComparisonAnswers,
    VerdictAnswers,
    ask_about,
    comparison_figures,
    verdict_figures,
)
from generator.principles import few_shot_turns, shown_examples
from records.errors import ConfigError, DataError
from records.rows import Message
from records.sources.origin import Origin
from tests.generator.toy import CONSTITUTION, reply_of
from tests.scripted import scripted_seat, user_turn


def turns(text: str = "Help?") -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def case(number: int, violates: bool, principle: str = "polite") -> VerdictCase:
    prompt = turns(f"Help {number}?")
    return VerdictCase(source="s", principle=principle, prompt=prompt, draft="No.", violates=violates)


def write(folder: Path, *rows: object) -> Path:
    path = folder / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_constitutions_examples_are_cases_but_for_those_the_critic_is_shown():
    everything = example_cases(CONSTITUTION, [])
    assert [(one.principle, one.violates) for one in everything.verdicts] == [("polite", True), ("polite", False)]
    assert [turn.content for turn in everything.verdicts[0].prompt] == ["Hi.", "Hello.", "Help?"]
    shown = [example for _, example in shown_examples(CONSTITUTION, 1)]
    fewer = example_cases(CONSTITUTION, shown)
    assert [one.violates for one in fewer.verdicts] == [False] and fewer.left_out == {"shown": 1}
    # What counts as shown is what the critic's turns hold.
    assert any("No, fool." in turn.content for turn in few_shot_turns(CONSTITUTION, 1))
    assert not any(turn.content.endswith("It is friendly.") for turn in few_shot_turns(CONSTITUTION, 1))


def test_labelled_drafts_are_read_by_named_columns_and_bad_rows_are_counted(tmp_path):
    good = {"q": "Help?", "a": "No, fool.", "rule": "polite", "bad": "yes"}
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}, turns()[0].model_dump()]
    path = write(
        tmp_path, good, good | {"bad": False, "q": talk}, good | {"rule": "nosuch"}, good | {"bad": "maybe"},
        {"q": "Help?"}, good | {"q": None}, good | {"a": "  "}, "no object",
    )  # fmt: skip
    columns = {"prompt": "q", "draft": "a", "principle": "rule", "violates": "bad"}
    found = read_verdict_cases(Origin(path=str(path), columns=columns), CONSTITUTION)
    assert [(one.violates, len(one.prompt), one.draft) for one in found.verdicts] == [
        (True, 1, "No, fool."),
        (False, 3, "No, fool."),
    ]
    assert found.left_out == {"no_column": 3, "rating": 1, "empty": 1, "unreadable": 1}
    assert "line 3" in found.places[0] and "nosuch" in found.places[0]


def test_what_gives_no_case_is_told(tmp_path):
    path = write(tmp_path, {"prompt": "Help?", "draft": "No.", "principle": "polite", "violates": "perhaps"})
    with pytest.raises(DataError, match=r"no labelled case.*\n.*perhaps"):
        read_verdict_cases(Origin(path=str(path)), CONSTITUTION)
    with pytest.raises(ConfigError, match="found columns answer"):
        read_verdict_cases(Origin(path=str(path), columns={"answer": "draft"}), CONSTITUTION)


def test_comparisons_come_from_any_layout_and_of_many_some_are_taken(tmp_path):
    rows = [{"prompt": f"Help {n}?", "chosen": "Gladly.", "rejected": f"No {n}."} for n in range(9)]
    path = write(tmp_path, *rows, {"prompt": "Help?", "chosen": "Same.", "rejected": "Same."})
    found = read_comparison_cases(Origin(path=str(path)), most=4)
    assert len(found.comparisons) == 4 and found.left_out == {"same_answers": 1, "beyond_most": 5}
    assert {one.better for one in found.comparisons} == {"Gladly."}
    again = read_comparison_cases(Origin(path=str(path)), most=4)
    assert again.comparisons == found.comparisons


def test_each_question_is_asked_in_its_own_words_and_examples_go_with_the_critique_alone():
    seen = []

    def answer(text, call):
        seen.append((user_turn(text), text.count("<|im_start|>user")))
        return reply_of("violates" if len(seen) < 3 else "complies")

    few_shots = few_shot_turns(CONSTITUTION, 1)
    asked = case(1, violates=True)
    found = asyncio.run(ask_about(asked, CONSTITUTION, scripted_seat(answer), few_shots, 2))
    assert found.said == ("violates", "violates", "complies")
    principle = CONSTITUTION.principles[0]
    requests = [critique_request(CONSTITUTION, principle, asked.prompt, asked.draft)]
    requests += [verify_request(CONSTITUTION, principle, asked.prompt, asked.draft, ask=ask) for ask in (0, 1)]
    assert [request for request, _ in seen] == requests
    assert [user for _, user in seen] == [1 + sum(turn.role == "user" for turn in few_shots), 1, 1]


def test_a_case_too_long_is_counted_and_ends_nothing():
    seat = scripted_seat(lambda text, call: reply_of("complies"), context=2_500)
    asked = case(1, violates=False).model_copy(update={"draft": "word " * 500})
    found = asyncio.run(ask_about(asked, CONSTITUTION, seat, (), 1))
    assert found.said == ("too_long", "too_long")
    figures = verdict_figures([found])["by_wording"]["critique"]
    assert figures["not_asked"] == 1 and figures["accuracy"] is None


def test_figures_of_verdicts_tell_what_is_missed_accused_unreadable_and_made_again():
    answers = [
        VerdictAnswers(case=case(0, True), said=("violates", "violates")),
        VerdictAnswers(case=case(1, True), said=("complies", "complies")),  # missed, twice
        VerdictAnswers(case=case(2, True), said=("not_applicable", "violates")),  # missed, once
        VerdictAnswers(case=case(3, False), said=("complies", "complies")),
        VerdictAnswers(case=case(4, False), said=("violates", "unparsed")),  # accused
        VerdictAnswers(case=case(5, False, "kind"), said=("unparsed", "complies")),
        VerdictAnswers(case=case(6, False, "kind"), said=("complies", "violates")),
    ]
    found = verdict_figures(answers)
    assert (found["cases"], found["breaking"]) == (7, 3)
    critique = found["by_wording"]["critique"]
    assert critique["accuracy"] == pytest.approx(3 / 6)
    assert critique["missed"] == pytest.approx(2 / 3)
    assert critique["accused"] == pytest.approx(1 / 3)
    assert (critique["unparsed"], critique["not_asked"]) == (1, 0)
    low, high = critique["accuracy_ci"]
    assert 0 < low < 0.5 < high < 1
    assert found["by_principle"]["kind"]["accuracy"] == 1
    # Of three errors one could not be read again, one was made again, one was not; of three right ones, one went wrong.
    assert found["repeated"] == pytest.approx(1 / 2)
    assert found["new_errors"] == pytest.approx(1 / 3)


def compared(number: int, *preferred: str) -> ComparisonAnswers:
    pair = ComparisonCase(source="s", prompt=turns(f"Help {number}?"), better="Yes.", worse="No.")
    return ComparisonAnswers(case=pair, preferred=preferred)


def test_figures_of_comparisons_tell_right_steady_and_first_shown():
    answers = [
        compared(0, "better", "better"),
        compared(1, "worse", "worse"),
        compared(2, "better", "worse"),  # the one shown first, both times
        compared(3, "tie", "tie"),
        compared(4, "better", "unparsed"),
        compared(5),
    ]
    found = comparison_figures(answers)
    assert found["accuracy"] == found["wrong"] == pytest.approx(1 / 4)
    assert found["consistent"] == pytest.approx(3 / 4)
    assert found["right_of_decided"] == pytest.approx(1 / 2)
    # By prompt: half, half, always, and of the fifth its one readable answer.
    assert found["first_shown"] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)
    assert (found["unparsed"], found["not_asked"], found["cases"]) == (1, 1, 6)


def test_exchanging_the_labels_exchanges_right_and_wrong():
    answers = [compared(n, "better", "better" if n % 2 else "worse") for n in range(8)]
    turned = [
        one.model_copy(update={"preferred": tuple({"better": "worse", "worse": "better"}[p] for p in one.preferred)})
        for one in answers
    ]
    before, after = comparison_figures(answers), comparison_figures(turned)
    assert (before["accuracy"], before["wrong"]) == (after["wrong"], after["accuracy"]) == (0.5, 0.0)
    assert before["consistent"] == after["consistent"] == 0.5
