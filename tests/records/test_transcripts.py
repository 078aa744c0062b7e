"""Flat dialogues: every turn, paragraph and colon survives, and only what begins as a dialogue is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.sources.sides import RowProblem
from records.sources.transcripts import is_open_transcript, is_transcript, transcript_turns

TEXT = st.text(st.sampled_from("ab: \n\u2028\x00{%}é<|"), min_size=1).filter(lambda text: text.strip())


def turns(text: str) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in transcript_turns(text)]


@given(st.lists(TEXT, min_size=1, max_size=6), st.booleans())
def test_any_turns_written_as_a_dialogue_are_read_back_to_the_letter(contents: list[str], system: bool) -> None:
    marks = ["System"] if system else []
    marks += ["Human", "Assistant"] * len(contents)
    text = "".join(f"\n\n{mark}: {content}" for mark, content in zip(marks, contents, strict=False))
    if system and len(contents) == 1:
        assert not is_transcript(text)
        return
    roles = {"System": "system", "Human": "user", "Assistant": "assistant"}
    assert turns(text) == [(roles[mark], content) for mark, content in zip(marks, contents, strict=False)]
    assert is_open_transcript(text + "\n\nAssistant:")
    assert turns(text + "\n\nAssistant:") == turns(text)


def test_both_families_keep_paragraphs_and_each_others_marks() -> None:
    assert turns("\n\nHuman: a: b\n\nc\nAssistant: no turn\n\nUser: nor this\n\nAssistant: d\n\n\n e ") == [
        ("user", "a: b\n\nc\nAssistant: no turn\n\nUser: nor this"),
        ("assistant", "d\n\n\n e "),
    ]
    assert turns("User: a\n\nb: c\nAssistant: d\n\nUser: Human: e\nAssistant: ") == [
        ("user", "a\n\nb: c"),
        ("assistant", "d"),
        ("user", "Human: e"),
    ]


@pytest.mark.parametrize("text", ["", "Hello", "Assistant: a", "The User: asks", "human: a\n\nAssistant:", "Users: a"])
def test_what_begins_otherwise_is_text(text: str) -> None:
    assert not is_transcript(text) and not is_open_transcript(text)
    with pytest.raises(RowProblem, match="expected Human: or User: at the beginning"):
        transcript_turns(text)


@pytest.mark.parametrize("text", ["User: Say 'Assistant:'", "User: a\nAssistant: b", "Human: a\nAssistant:"])
def test_a_dialogue_that_does_not_ask_to_be_continued_is_not_open(text: str) -> None:
    assert is_transcript(text) and not is_open_transcript(text)
