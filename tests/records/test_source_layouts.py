"""The public layouts as prompts and as pairs, on small files of each shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from records.errors import ConfigError
from records.sources.layouts import check_gives_pairs, prompt_fields, row_pairs
from records.sources.origin import Origin
from records.sources.presets import PRESETS
from records.sources.readers import read_origin
from records.sources.sides import RowProblem

DATA = Path(__file__).resolve().parent.parent / "data" / "sources"
FLAT = "User: q\nAssistant:"


def origin(name: str, preset: str | None = None, **columns: str) -> Origin:
    return Origin(path=str(DATA / name), preset=preset, columns=columns)


def said(messages: Any) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


def pairs(source: Origin) -> list[list[tuple[Any, str, str, Any]]]:
    """Each row's pairs: turns of the prompt, chosen, rejected, ratings."""
    return [
        [
            (
                said(pair.prompt),
                pair.chosen[0].content,
                pair.rejected[0].content,
                (pair.chosen_rating, pair.rejected_rating),
            )
            for pair in row_pairs(found.row, source)
        ]
        for found in read_origin(source)
    ]


UNRATED = (None, None)
GATE = [
    ("user", "How do I oil a gate?\n\nIt squeaks: badly."),
    ("assistant", "Which hinge?"),
    ("user", "The upper one."),
]
EXPECTED: dict[str, tuple[str, list[list[tuple[Any, str, str, Any]]]]] = {
    "Anthropic/hh-rlhf": (
        "hh_rlhf.jsonl",
        [
            [(GATE, "Two drops: left, then right.\n\nWipe the rest.", "Pour it on.", UNRATED)],
            [([("user", "Why is moss green?")], "Chlorophyll.", "Paint.", UNRATED)],
        ],
    ),
    "webgpt_comparisons": (
        "webgpt_comparisons.jsonl",
        [
            [
                (
                    [("user", "Why do cats purr?\n\nMine does: loudly.")],
                    "Muscles of the larynx [1].",
                    "They are engines.",
                    (1.0, -1.0),
                )
            ],
            [],
        ],
    ),
    "summarize_from_feedback": (
        "summarize_from_feedback.jsonl",
        [
            [
                (
                    [("user", "I lost my hat.\n\nEDIT: found it.")],
                    "A hat was lost: and found.",
                    "A hat was lost.",
                    UNRATED,
                )
            ]
        ],
    ),
    "eli5": (
        "eli5.jsonl",
        [
            [
                (
                    [("user", "Why is the sky blue?\n\nMy child asked: twice.")],
                    "Short waves scatter.",
                    "Because.",
                    (40.0, -3.0),
                )
            ],
            [],
        ],
    ),
    "HuggingFaceH4/ultrafeedback_binarized": (
        "ultrafeedback_binarized.json",
        [[([("system", "Be brief."), ("user", "Name a tree.")], "The oak: strong.", "Fern.", (8.0, 3.5))], []],
    ),
    "palms": (
        "palms.jsonl",
        [[([("user", "May I pick the flowers?")], "Ask the gardener: first.", "Take all of them.", UNRATED)]],
    ),
}


@pytest.mark.parametrize("preset", EXPECTED)
def test_a_preset_gives_its_pairs_best_over_worst_and_ties_none(preset: str) -> None:
    name, expected = EXPECTED[preset]
    assert pairs(origin(name, preset)) == expected


@pytest.mark.parametrize("preset", EXPECTED)
def test_a_presets_prompts_are_those_of_its_pairs(preset: str) -> None:
    name, expected = EXPECTED[preset]
    source = origin(name, preset)
    for found, row in zip(read_origin(source), expected, strict=True):
        (fields,) = prompt_fields(found.row, source)
        assert fields.pop("group") is None
        for prompt, *_ in row:
            asked = [value if isinstance(value, str) else said(value) for value in fields.values()]
            flat = f"\n\nHuman: {prompt[-1][1]}\n\nAssistant:"
            assert asked in ([prompt], [prompt[-1][1]], [flat])


def test_layouts_without_a_ranking_give_pairs_only_where_columns_say_which_side_is_better() -> None:
    unranked = [name for name, preset in PRESETS.items() if preset.pairs is None]
    assert unranked == ["hc3", "mt-bench", "traits"]
    for name in unranked:
        with pytest.raises(ConfigError, match=f"preset {name}: the layout"):
            check_gives_pairs(origin("hc3.jsonl", name))
    source = origin("hc3.jsonl", "HC3", chosen="human_answers", rejected="chatgpt_answers")
    check_gives_pairs(source)
    ((first, second),) = pairs(source)
    assert first[1:3] == ("A fungus, mostly.", "Yeast is a microorganism.")
    assert second == ([("user", "What is yeast?")], "Tiny: alive.", "Yeast is a microorganism.", UNRATED)


def test_a_flat_prompt_is_turns_and_not_templated_again() -> None:
    ((pair,),) = pairs(origin("flat_strings.jsonl"))
    assert pair[:3] == (
        [
            ("user", "Where is the key?\n\nIt was here: I swear."),
            ("assistant", "Under the mat."),
            ("user", "Not there."),
        ],
        "Try the shelf.",
        "No idea.",
    )


def test_ranked_answers_by_rating_rank_place_text_or_word() -> None:
    found = [[pair[1:] for pair in row] for row in pairs(origin("ranked.jsonl"))]
    assert found == [
        [("Bean.", "Stone.", (5.0, 1.0))],
        [("Oat.", "Rye.", UNRATED)],
        [("Lime.", "Mint.", UNRATED)],
        [],
        [("Walnut.", "Hazel.", (1.0, -1.0))],
    ]


def turns(*contents: str) -> list[dict[str, str]]:
    return [
        {"role": role, "content": content} for role, content in zip(["user", "assistant"] * 9, contents, strict=False)
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "a: b\n\nc", "rejected": "d"},
        {"prompt": turns("q"), "chosen": "a: b\n\nc", "rejected": turns("x", "d")[1:]},
        {"messages": turns("q"), "chosen": "a: b\n\nc", "rejected": "d"},
        {"chosen": turns("q", "a: b\n\nc"), "rejected": turns("q", "d")},
        {"prompt": "q", "chosen": turns("q", "a: b\n\nc"), "rejected": turns("q", "d")},
        {"chosen": "\n\nHuman: q\n\nAssistant: a: b\n\nc", "rejected": "\n\nHuman: q\n\nAssistant: d"},
        {
            "prompt": "User: q\nAssistant:",
            "chosen": "User: q\nAssistant: a: b\n\nc",
            "rejected": "User: q\nAssistant: d",
        },
        {"prompt": "q", "answers": ["d", "a: b\n\nc"], "ratings": ["2", "3.5"]},
    ],
)
def test_every_shape_of_the_same_pair_gives_it(row: dict[str, Any]) -> None:
    (pair,) = row_pairs(row, Origin(path="x"))
    assert said(pair.prompt) == [("user", "q")]
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("a: b\n\nc", "d")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "chosen": "a"}, "no_column"),
        ({"question": "q"}, "no_column"),
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "same_answers"),
        ({"chosen": turns("q", "a"), "rejected": turns("q", "a")}, "same_answers"),
        ({"prompt": "q", "chosen": "a", "rejected": " \n"}, "empty"),
        ({"prompt": "q", "chosen": 3, "rejected": "a"}, "not_text"),
        ({"chosen": "I think so", "rejected": "I doubt it"}, "no_common_prompt"),
        ({"chosen": turns("q", "a"), "rejected": turns("other", "b")}, "no_common_prompt"),
        ({"prompt": "elsewhere", "chosen": turns("q", "a"), "rejected": turns("q", "b")}, "no_common_prompt"),
        ({"chosen": turns("q", "a", "r", "s"), "rejected": turns("q", "b")}, "turns"),
        ({"chosen": turns("q"), "rejected": turns("q", "b")}, "turns"),
        ({"prompt": [{"from": "human", "value": "q"}], "chosen": "a", "rejected": "b"}, "turns"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "chosen_rating": 1, "rejected_rating": 2}, "rating"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "chosen_rating": "high"}, "rating"),
        ({"prompt": "q", "answers": ["a", "b"], "ratings": [1, float("nan")]}, "rating"),
        ({"prompt": "q", "answers": ["a", "b"], "ratings": [1]}, "rating"),
        ({"prompt": "q", "answers": ["a"], "ratings": [1]}, "rating"),
        ({"prompt": "q", "answers": ["a", "b"], "ratings": [True, False]}, "rating"),
        ({"prompt": "q", "answers": ["a", "b"], "best": 0, "worst": 2}, "rating"),
    ],
)
def test_a_row_that_is_no_pair_has_its_reason(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowProblem) as caught:
        row_pairs(row, Origin(path="x"))
    assert caught.value.reason == reason
    assert "expected" in str(caught.value)


def test_columns_name_theirs_and_reach_into_mappings() -> None:
    source = Origin(path="x", columns={"prompt": "q.text", "chosen": "good", "rejected": "bad.one", "group": "doc"})
    row = {"q": {"text": "why"}, "good": "a", "bad.one": "b", "doc": 7}
    (pair,) = row_pairs(row, source)
    assert (said(pair.prompt), pair.rejected[0].content) == ([("user", "why")], "b")
    with pytest.raises(RowProblem, match=r"no column q\.text, bad\.one \(found good\)"):
        row_pairs({"good": "a"}, source)
