"""What a seat asks of its engine beyond the chain that uses it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from generator.engine import Sampling
from generator.seat import ask_verdict
from records.rows import Message
from tests.generator.toy import CONSTITUTION, reply_of
from tests.scripted import scripted_seat


def test_an_unreadable_reply_is_drawn_again_and_not_greedily():
    seat = scripted_seat(lambda _, call: "no verdict" if call.sampling.temperature == 0 else reply_of("violates"))
    greedy = replace(seat, sampling=Sampling(temperature=0.0, max_tokens=200))
    ask = ask_verdict(greedy, CONSTITUTION.principle("kind"), [Message(role="user", content="Kind?")], stage=1)
    verdict, replies = asyncio.run(ask)
    assert (verdict.verdict, [reply.text for reply in replies]) == ("violates", ["no verdict", reply_of("violates")])
