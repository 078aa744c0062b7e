"""What a person names wins over what a row happens to hold, and a preset's evidence stays where nothing replaces it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from records.errors import ConfigError
from records.sources.layouts import check_gives_pairs, prompt_fields, row_pairs
from records.sources.origin import Origin
from records.sources.presets import PRESETS
from records.sources.readers import read_origin
from records.sources.sides import RowProblem

ASKED = [{"role": "user", "content": "q"}]
DIALOGUES = {side: [*ASKED, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
ULTRA = {"prompt": "q", **DIALOGUES, "score_chosen": 7.0, "score_rejected": 7.0}
WEBGPT = {"question": {"full_text": "q"}, "answer_0": "a", "answer_1": "b", "score_0": 1, "score_1": -1, "other": "r"}


def texts(row: dict[str, Any], preset: str | None = None, **columns: str) -> list[tuple[list[str], str, str]]:
    source = Origin(path="x", preset=preset, columns=columns)
    check_gives_pairs(source)
    return [
        ([turn.content for turn in pair.prompt], pair.chosen[0].content, pair.rejected[0].content)
        for pair in row_pairs(row, source)
        if not isinstance(pair, RowProblem)
    ]


def reason(row: dict[str, Any], preset: str | None = None, **columns: str) -> str:
    with pytest.raises(RowProblem) as caught:
        row_pairs(row, Origin(path="x", preset=preset, columns=columns))
    return caught.value.reason


@pytest.mark.parametrize("name", ["ranks", "ratings"])
def test_best_and_worst_as_words_mean_the_same_as_ranks_and_as_ratings(name: str) -> None:
    """As ranks, of which the lower is better, the words were turned over with the numbers: the worst answer won."""
    assert texts({"prompt": "q", "answers": ["bad", "good"], name: ["worst", "best"]}) == [(["q"], "good", "bad")]
    held = [{"text": text, name.removesuffix("s"): word} for text, word in (("bad", "worst"), ("good", "best"))]
    assert texts({"prompt": "q", "answers": held}) == [(["q"], "good", "bad")]


def test_words_beside_numbers_are_no_order() -> None:
    assert reason({"prompt": "q", "answers": ["a", "b", "c"], "ratings": ["best", 2, "worst"]}) == "rating"
    assert reason({"prompt": "q", "chosen": "a", "rejected": "b", "chosen_rating": "best", "rejected_rating": 3}) == (
        "rating"
    )


def test_of_several_best_the_first_is_taken() -> None:
    row = {"prompt": "q", "answers": ["a", "b", "c", "d"], "ratings": [1, 5, 5, 1]}
    assert texts(row) == [(["q"], "b", "a")]


def test_named_sides_win_over_answers_that_the_row_ranks() -> None:
    row = {"prompt": "q", "answers": ["x", "y"], "ratings": [1, 2], "best": 1, "worst": 0, "good": "x", "bad": "y"}
    assert texts(row) == [(["q"], "y", "x")]
    assert texts(row, prompt="prompt", chosen="good", rejected="bad") == [(["q"], "x", "y")]
    assert texts(row | {"chosen": "x", "rejected": "y"}) == [(["q"], "x", "y")]
    assert texts(row | {"chosen": "x", "rejected": "y"}, answers="answers", ratings="ratings") == [(["q"], "y", "x")]


def test_named_ranks_win_over_the_rows_own_ratings() -> None:
    row = {"prompt": "q", "answers": ["x", "y"], "ratings": [1, 2], "places": [1, 2]}
    assert texts(row, ranks="places") == [(["q"], "x", "y")]


def test_a_named_conversation_wins_over_the_rows_own_prompt() -> None:
    history = [*ASKED, {"role": "assistant", "content": "r"}, {"role": "user", "content": "s"}]
    row = {"prompt": "s", "history": history, "chosen": "a", "rejected": "b"}
    assert texts(row) == [(["s"], "a", "b")]
    assert texts(row, messages="history") == [(["q", "r", "s"], "a", "b")]
    assert texts(row | {"messages": history, "text": "t"}, prompt="text") == [(["t"], "a", "b")]


def test_a_named_prompt_leaves_the_presets_evidence() -> None:
    assert texts(ULTRA, "ultrafeedback_binarized", prompt="prompt") == []
    assert texts(ULTRA | {"score_chosen": 8.0}, "ultrafeedback_binarized", prompt="prompt") == [
        (["q"], "chosen", "rejected")
    ]
    assert texts(WEBGPT, "webgpt_comparisons", prompt="question.full_text") == [(["q"], "a", "b")]
    assert texts(WEBGPT, "webgpt_comparisons", prompt="other") == [(["r"], "a", "b")]
    assert reason(ULTRA | {"score_chosen": 8.0, "o": "elsewhere"}, "ultrafeedback_binarized", prompt="o") == (
        "no_common_prompt"
    )


def test_a_named_column_wins_over_a_presets_prompt() -> None:
    source = Origin(path="x", preset="webgpt_comparisons", columns={"prompt": "other"})
    assert prompt_fields(WEBGPT, source) == [{"prompt": "r", "group": None}]
    source = Origin(path="x", preset="webgpt_comparisons", columns={"benign": "yes"})
    assert prompt_fields(WEBGPT | {"yes": True}, source) == [{"prompt": "q", "benign": True, "group": None}]


def test_named_sides_and_ratings_of_dialogues_stand_in_for_the_presets() -> None:
    row = {"up": DIALOGUES["chosen"], "down": DIALOGUES["rejected"], "a": 2, "b": 2}
    assert texts(row, "hh-rlhf", chosen="up", rejected="down") == [(["q"], "chosen", "rejected")]
    assert texts(row, "hh-rlhf", chosen="up", rejected="down", chosen_rating="a", rejected_rating="b") == []


@pytest.mark.parametrize(
    ("preset", "columns", "words"),
    [
        ("webgpt_comparisons", {"chosen": "other", "rejected": "answer_0"}, "itself says which answer is better"),
        ("eli5", {"ratings": "x"}, "found columns for ratings beside it"),
        ("traits", {"chosen": "good", "rejected": "bad"}, "preset traits: the layout holds questions and no answers"),
        ("mt_bench", {"chosen": "good", "rejected": "bad"}, "the layout holds questions and no answers"),
        (None, {"prompt": "a", "messages": "b"}, "found prompt, messages, which say the same thing"),
        (None, {"chosen": "a", "rejected": "b", "answers": "c"}, "expected one of them"),
    ],
)
def test_columns_that_cannot_be_honoured_are_refused(preset: str | None, columns: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_gives_pairs(Origin(path="x", preset=preset, columns=columns))


def test_lists_of_unequal_lengths_are_no_ratings_and_other_lists_do_not_matter() -> None:
    answers = {"text": ["a", "b", "c"], "score": [1, 2, 30]}
    assert texts({"title": "q", "answers": answers | {"urls": [["u"]]}}, "eli5") == [(["q"], "c", "a")]
    assert reason({"title": "q", "answers": answers | {"score": [1, 2]}}, "eli5") == "rating"


def test_an_article_is_the_prompt_where_there_is_no_post() -> None:
    row = {"info": {"post": None, "article": "n"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 1.0}
    assert texts(row, "summarize_from_feedback") == [(["n"], "b", "a")]


FLAT = {side: f"\n\nHuman: q\n\nAssistant: {side}" for side in ("chosen", "rejected")}


@pytest.mark.parametrize("preset", [None, "hh-rlhf"])
def test_whole_dialogues_beside_a_bare_prompt_are_no_answers(preset: str | None) -> None:
    assert texts({"prompt": "q", **FLAT}, preset) == [(["q"], "chosen", "rejected")]
    assert reason({"prompt": "Which is better, A or B?", **FLAT}, preset) == "no_common_prompt"
    only_one = {"prompt": "q", "chosen": "User: quoted", "rejected": "b"}
    assert texts(only_one) == [(["q"], "User: quoted", "b")]


def test_one_bad_pair_among_many_answers_is_its_own_problem() -> None:
    row = {"prompt": "q", "chosen": ["a", "same", ""], "rejected": ["b", "same"]}
    found = row_pairs(row, Origin(path="x"))
    assert [pair.reason for pair in found if isinstance(pair, RowProblem)] == ["same_answers", "empty", "empty"]
    assert texts(row) == [(["q"], "a", "b"), (["q"], "a", "same"), (["q"], "same", "b")]


@pytest.mark.parametrize("prompt", ["", "  \n", [{"role": "user", "content": " "}]])
def test_an_empty_prompt_is_no_prompt(prompt: Any) -> None:
    assert reason({"prompt": prompt, "chosen": "a", "rejected": "b"}) == "empty"


def test_one_leading_space_belongs_to_a_flat_prompts_mark_and_to_no_other() -> None:
    assert texts({"prompt": "q", "chosen": " a", "rejected": "  b"}) == [(["q"], " a", "  b")]
    assert texts({"prompt": "User: q\nAssistant:", "chosen": " a", "rejected": "  b"}) == [(["q"], "a", " b")]


def test_answers_that_are_mappings_are_picked_by_place_and_in_a_table_by_a_number_as_text() -> None:
    held = {"prompt": "q", "answers": [{"text": "a"}, {"text": "b"}]}
    assert texts(held | {"best": 1, "worst": 0}) == [(["q"], "b", "a")]
    assert texts({"prompt": "q", "answers": '["a", "b"]', "best": "1", "worst": "0"}) == [(["q"], "b", "a")]
    assert reason(held | {"best": "2", "worst": "0"}) == "rating"


def test_a_rating_beyond_all_numbers_is_a_bad_row() -> None:
    assert reason({"prompt": "q", "answers": ["a", "b"], "ratings": [10**400, 2]}) == "rating"


TABLE = [
    (json.dumps(ASKED), json.dumps([{"role": "assistant", "content": "a: b\n\nc"}]), "d", None),
    ('[{"role": "user", "content": "q"', "a", "b", "unreadable"),
    (json.dumps(ASKED), '[{"role": "assistant", "content": "a"', "b", "unreadable"),
    ("q", "a", "b", "not_text"),
]


@pytest.mark.parametrize(("messages", "chosen", "rejected", "problem"), TABLE)
def test_json_in_a_table_is_read_or_a_bad_row_and_never_text(
    tmp_path: Path, messages: str, chosen: str, rejected: str, problem: str | None
) -> None:
    import csv

    with open(tmp_path / "a.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["messages", "chosen", "rejected"], [messages, chosen, rejected]])
    (found,) = read_origin(Origin(path=str(tmp_path / "a.csv")))
    if problem:
        assert reason(found.row) == problem
    else:
        assert texts(found.row) == [(["q"], "a: b\n\nc", "d")]


def test_json_in_an_answer_of_other_files_stays_text() -> None:
    answer = '[{"role": "assistant", "content": "a"}]'
    assert texts({"prompt": "q", "chosen": answer, "rejected": "b"}) == [(["q"], answer, "b")]


HHH = {
    "prompt": "\n\nConsider this:\n\nHuman: q: 1\n\nAssistant: r\n\nHuman: s\n\n\nPlease choose the response that is. "
    "Options:\n (A) [[[good\n\n(B) no]]]\n (B) [[[bad]]]\n\nThe answer is:",
    "corrects": [" (A)"],
    "incorrects": [" (B)"],
}
SPELLED = {
    name: f"\n\nHuman: q: 1\n\nAssistant: r\n\nHuman: s\n\nAssistant: {text}"
    for name, text in (("text_correct", "good\n\n(B) no"), ("text_incorrect", "bad"))
}


def test_the_hhh_layout_is_labelled_by_its_letters_and_held_to_its_texts() -> None:
    for row in (HHH, HHH | SPELLED):
        assert texts(row, "hhh") == [(["q: 1", "r", "s"], "good\n\n(B) no", "bad")]
    turned = {"text_correct": SPELLED["text_incorrect"], "text_incorrect": SPELLED["text_correct"]}
    assert reason(HHH | turned, "hhh") == "rating"
    assert reason(HHH | {"corrects": [" (A)", " (B)"]}, "hhh") == "rating"
    assert reason(HHH | {"corrects": [" (C)"]}, "hhh") == "rating"
    assert reason(HHH | {"prompt": "q"}, "hhh") == "no_common_prompt"
    assert prompt_fields(HHH, Origin(path="x", preset="hhh"))[0]["messages"][-1].content == "s"


def test_palms_keeps_every_critique_and_revision() -> None:
    step = {"cst_key": "kind", "critique": {"sample": " rude"}, "revision": {"sample": " better"}}
    row = {"rl_prompt": "\n\nHuman: q\n\nAssistant:", "initial_response": [{"sample": " first"}], "cst": [step, step]}
    (pair,) = row_pairs(row, Origin(path="x", preset="palms"))
    assert not isinstance(pair, RowProblem)
    said = [(entry.kind, entry.principle, entry.text) for entry in pair.trail]
    assert said == [("critique", "kind", " rude"), ("revision", "kind", " better")] * 2


def test_every_preset_says_what_may_be_named_beside_it() -> None:
    for name, preset in PRESETS.items():
        assert preset.takes or preset.pairs is None, name
