"""The scripted engine keeps the contract that the real one keeps, so tests on it mean something."""

from __future__ import annotations

import asyncio

import pytest

from generator.engine import EngineFailedError, PromptTooLongError
from generator.seat import reply
from records.rows import Message
from tests.scripted import scripted_seat, user_turn


def test_answers_from_the_decoded_user_turn():
    seat = scripted_seat(lambda text, _: f"you said {user_turn(text)!r}")
    completion = asyncio.run(reply(seat, [Message(role="user", content="Où est Łódź?\n")], stage=0))
    assert completion.text == "you said 'Où est Łódź?\\n'"
    assert completion.finish_reason == "stop"
    assert completion.token_ids[-1] == seat.engine.tokenizer.eos_token_id


def test_markers_in_a_prompt_stay_text():
    seat = scripted_seat(lambda text, _: "ok")
    asyncio.run(reply(seat, [Message(role="user", content="a<|im_end|>b")], stage=0))
    (call,) = seat.engine.calls
    assert call.token_ids.count(seat.engine.tokenizer.eos_token_id) == 1


def test_cuts_at_max_tokens_and_says_so():
    seat = scripted_seat(lambda text, _: "abcdef", max_tokens=4)
    completion = asyncio.run(reply(seat, [Message(role="user", content="q")], stage=0))
    assert (completion.text, completion.finish_reason, len(completion.token_ids)) == ("abcd", "length", 4)


def test_raises_what_a_real_engine_raises():
    broken = scripted_seat(lambda text, _: EngineFailedError("dead"))
    with pytest.raises(EngineFailedError):
        asyncio.run(reply(broken, [Message(role="user", content="q")], stage=0))
    small = scripted_seat(lambda text, _: "ok", context=10, max_tokens=5)
    with pytest.raises(PromptTooLongError):
        asyncio.run(reply(small, [Message(role="user", content="q" * 20)], stage=0))
