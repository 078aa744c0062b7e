"""Prompt files: every problem at once, duplicates counted, held-out prompts kept out of train."""

from __future__ import annotations

import json

import pytest

from generator.sources import load_prompts
from records.errors import DataError
from records.splits import SplitShares, content_key, prompt_id, split_of

SHARES = SplitShares(validation=0.2, test=0.3)


def write(path, *lines):
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return str(path)


def test_both_shapes_and_every_column(tmp_path):
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c\n\nd: e"},
    ]
    path = write(
        tmp_path / "p.jsonl",
        b"\xef\xbb\xbf" + json.dumps({"prompt": "Hello?", "benign": True, "check": {"forbid": ["x"]}}).encode(),
        b"",
        {"messages": talk, "group": "g"},
    )
    first, second = load_prompts([path], SHARES).prompts
    assert first.messages[0].content == "Hello?" and first.benign is True
    assert first.check == {"forbid": ("x",)} and first.source == path
    assert [turn.model_dump() for turn in second.messages] == talk
    assert second.split == split_of(second.messages, "g", SHARES)


BAD_LINES = [
    (b'{"prompt": "cut', "Invalid JSON"),
    (b'{"prompt": "\xff"}', "Invalid JSON"),
    ({"question": "a"}, "question: no such column; expected prompt, messages"),
    ({}, "expected either `prompt` or `messages`"),
    ({"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "one of the two"),
    ({"prompt": "  "}, "not empty"),
    ({"messages": []}, "must end with a user turn"),
    ({"messages": [{"role": "assistant", "content": "a"}]}, "must end with a user turn"),
    ({"messages": [{"role": "user", "content": "a"}] * 2}, "found the roles user, user; expected user and assistant"),
    ({"prompt": 3}, "prompt: Input should be a valid string"),
    ({"prompt": "a", "benign": "perhaps"}, "benign"),
    ({"prompt": "a", "check": {"forbid": ["("]}}, "forbid.0"),
    ({"prompt": "a", "check": {}}, "tests nothing"),
    ([1, 2], "the line"),
    (b"null", "the line"),
]


def test_every_problem_of_every_file_at_once(tmp_path):
    good = {"prompt": "Fine?"}
    bad = write(tmp_path / "bad.jsonl", good, *(line for line, _ in BAD_LINES))
    empty = write(tmp_path / "empty.jsonl", b"", b"  ")
    missing = str(tmp_path / "missing.jsonl")
    with pytest.raises(DataError) as caught:
        load_prompts([bad, empty, missing], SHARES)
    text = str(caught.value)
    for number, (_, words) in enumerate(BAD_LINES, start=2):
        (line,) = [line for line in text.splitlines() if f"bad.jsonl, line {number}:" in line]
        assert words in line
    assert "empty.jsonl: holds no prompts" in text
    assert "missing.jsonl: no such file" in text
    assert "bad.jsonl, line 1:" not in text
    assert text.endswith("Nothing was run.")


def test_many_problems_are_counted_not_all_shown(tmp_path):
    path = write(tmp_path / "p.jsonl", *[{"question": "a"}] * 50)
    with pytest.raises(DataError, match="and 30 more"):
        load_prompts([path], SHARES)


def test_duplicates_are_left_out_and_counted_across_files(tmp_path):
    a = write(tmp_path / "a.jsonl", {"prompt": "One?"}, {"prompt": "Two?"}, {"prompt": "One?"})
    b = write(tmp_path / "b.jsonl", {"messages": [{"role": "user", "content": "Two?"}]}, {"prompt": "Three?"})
    found = load_prompts([a, b], SplitShares(validation=0, test=0))
    assert [prompt.messages[0].content for prompt in found.prompts] == ["One?", "Two?", "Three?"]
    assert (found.duplicates, found.near_duplicates) == (2, 0)


def test_near_duplicates_of_held_out_prompts_leave_train(tmp_path):
    things = ["table", "door", "chair", "roof", "boat", "kettle", "lamp", "shelf", "rug", "clock", "bowl", "fence"]
    shapes = ["How do I mend the {}?", "how could you MEND a {}", "Please tell me how to mend my {}."]
    rows = [{"prompt": shape.format(thing)} for thing in things for shape in shapes]
    found = load_prompts([write(tmp_path / "p.jsonl", *rows)], SHARES)
    held_out = {content_key(prompt.messages) for prompt in found.prompts if prompt.split != "train"}
    assert held_out and found.of("train")
    assert not held_out & {content_key(prompt.messages) for prompt in found.of("train")}
    assert found.near_duplicates == len(rows) - len(found.prompts) > 0
    kept = {prompt.id for prompt in found.prompts}
    for row in rows:
        messages = load_prompts([write(tmp_path / "one.jsonl", row)], SHARES).prompts[0].messages
        left_out = prompt_id(messages) not in kept
        assert left_out <= (content_key(messages) in held_out)


def test_prompts_that_differ_in_one_content_word_all_stay(tmp_path):
    rows = [{"prompt": f"How do I mend the thing{number}?"} for number in range(200)]
    found = load_prompts([write(tmp_path / "p.jsonl", *rows)], SHARES)
    assert (len(found.prompts), found.near_duplicates) == (200, 0)
    assert {prompt.split for prompt in found.prompts} == {"train", "validation", "test"}


def test_a_group_stays_on_one_side(tmp_path):
    rows = [{"prompt": f"Question {number} of {number % 7}?", "group": f"doc-{number % 7}"} for number in range(140)]
    found = load_prompts([write(tmp_path / "p.jsonl", *rows)], SHARES)
    for group in range(7):
        assert len({prompt.split for prompt in found.prompts if prompt.group == f"doc-{group}"}) == 1
