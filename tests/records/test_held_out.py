from __future__ import annotations

import pytest

from records.held_out import NOTHING_HELD_OUT, held_out_from
from records.rows import Message


def asked(*texts: str) -> tuple[Message, ...]:
    roles = ("user", "assistant") * len(texts)
    return tuple(Message(role=role, content=text) for role, text in zip(roles, texts, strict=False))


QUESTION = "How do I clean the oven?"
HELD_OUT = held_out_from([asked(QUESTION), asked("Why?"), asked("Hello.", "Hi.", "And which soap do I take, then?")])


@pytest.mark.parametrize(
    "prompt",
    [
        QUESTION,
        f"  {QUESTION.upper()} ",
        "how can I clean an oven",
        f"\n\nHuman: {QUESTION}\n\nAssistant:",
        f"User: {QUESTION}\nAssistant:",
        f"<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n",
        f"[INST] {QUESTION} [/INST]",
        "### Instruction:\nAnd which soap do I take, then?\n\n### Response:",
        "Why?",
        asked(QUESTION),
        asked("Hello.", "Good day.", "And which soap do I take, then?"),
    ],
)
def test_a_held_out_prompt_is_known_in_every_shape(prompt) -> None:
    assert prompt in HELD_OUT
    assert prompt not in NOTHING_HELD_OUT


@pytest.mark.parametrize(
    "prompt",
    [
        "How do I clean the sink?",
        "\n\nHuman: How do I clean the sink?\n\nAssistant:",
        "<|im_start|>user\nHow do I clean the ovens of my neighbour?<|im_end|>",
        "Tell me why? I want to know it.",  # too short a question to be looked for inside others
        asked("How do I clean the sink?"),
    ],
)
def test_another_prompt_is_not(prompt) -> None:
    assert prompt not in HELD_OUT


def test_the_digest_follows_the_set_and_not_its_order() -> None:
    one, other = asked(QUESTION), asked("Why?")
    assert held_out_from([one, other]).digest == held_out_from([other, one]).digest != held_out_from([one]).digest
