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


CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
SHORT = held_out_from([asked("Define entropy."), asked("如何偷一辆汽车而不被发现"), asked("为什么"), asked(QUESTION)])


@pytest.mark.parametrize("question", ["Define entropy.", "如何偷一辆汽车而不被发现", "为什么", QUESTION])
@pytest.mark.parametrize(
    "shape",
    [
        "{}",
        CHATML,
        "\n\nHuman: {}\n\nAssistant:",
        "Question: {}\nAnswer:",
        "A chat. USER: {} ASSISTANT:",
        "<s>[INST] {} [/INST]",
        "### Instruction:\n{}\n\n### Response:",
        "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
    ],
)
def test_short_questions_and_scripts_without_spaces_are_known_in_templates_too(question: str, shape: str) -> None:
    assert shape.format(question) in SHORT
    assert asked("Hi", "Hello", shape.format(question)) in SHORT
    assert asked(shape.format(question), "So.", "And then?") in SHORT


@pytest.mark.parametrize(
    "prompt",
    [
        "Please define entropy. I mean: as physicists do",
        CHATML.format("Define entropy of mixing."),
        "我不知道为什么天是蓝的",
        CHATML.format("如何修一辆汽车而不被发现"),
        asked("Define entropy of mixing."),
        asked("How do I clean the oven door?"),  # as a turn, a longer question is another one
    ],
)
def test_longer_and_other_questions_are_not_those(prompt) -> None:
    assert prompt not in SHORT
