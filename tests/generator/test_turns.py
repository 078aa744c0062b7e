"""A system line and earlier turns go all the way: into every draft, every question, the row, training and export."""

from __future__ import annotations

import asyncio

import pytest

from generator.config import JudgeConfig
from generator.generate import run_one
from generator.method import CRITIQUE, DRAFT, JUDGEMENT, REVISION, VERIFICATION
from records.chat import encode_chat
from records.layouts import nemo_row, open_cai_row, standard_row
from records.rows import Message, Pair
from records.splits import prompt_id
from tests.generator.toy import DRAFT_TEXT, FINAL_TEXT, method_of, prompt, script, user_turn
from tests.scripted import byte_tokenizer
from trainer.data import encode_preference
from trainer.preferences import Preference

TURNS = (
    Message(role="system", content="Be brief: always."),
    Message(role="user", content="Hello.\n\nWho are you?"),
    Message(role="assistant", content="A cook."),
    Message(role="user", content="How do I boil an egg?"),
)
STAGES = {
    "revision": {CRITIQUE, REVISION, VERIFICATION, JUDGEMENT},
    "best_of_n": {CRITIQUE, VERIFICATION, JUDGEMENT},
    "ai_feedback": {JUDGEMENT},
    "rating": {JUDGEMENT},
}


@pytest.fixture(params=STAGES)
def made(request):
    """A strategy, its row, and each call's stage and decoded prompt."""
    method = method_of(
        script(draft=[DRAFT_TEXT, FINAL_TEXT]), strategy=request.param, drafts=2, gate=JudgeConfig(), passes=1
    )
    row = asyncio.run(run_one(prompt(id=prompt_id(TURNS), messages=TURNS), 0, method))
    return request.param, row, list(zip(method.policy.engine.calls, method.policy.engine.texts, strict=True))


def test_the_policy_is_asked_with_every_turn_in_its_role(made):
    _, row, calls = made
    drafted = [call.token_ids for call, _ in calls if call.stage == DRAFT]
    assert set(drafted) == {tuple(encode_chat(byte_tokenizer(), TURNS, add_generation_prompt=True))}
    assert isinstance(row, Pair) and row.prompt == TURNS


def test_every_question_about_an_answer_shows_every_turn_in_its_role(made):
    strategy, _, calls = made
    asked = [(call.stage, text) for call, text in calls if call.stage != DRAFT]
    assert {stage for stage, _ in asked} == STAGES[strategy]
    for stage, text in asked:
        # A revision continues the critic's conversation, whose first turn shows them.
        shown = text if stage == REVISION else user_turn(text)
        places = [shown.index(f"[{turn.role}]\n<<<\n{turn.content}\n>>>") for turn in TURNS]
        assert places == sorted(places)


def test_the_row_trains_and_exports_with_every_turn(made):
    _, row, _ = made
    pair = encode_preference(Preference(row.id, "", "train", row.prompt, row.chosen, row.rejected), byte_tokenizer())
    prompt_ids = encode_chat(byte_tokenizer(), TURNS, add_generation_prompt=True)
    assert pair.prompt_ids == prompt_ids
    sides = [byte_tokenizer().decode(ids) for ids in (pair.chosen_ids, pair.rejected_ids)]
    assert [text.split("<|im_end|>")[0] for text in sides] == [FINAL_TEXT, DRAFT_TEXT]
    assert nemo_row(row, "t").context == TURNS
    assert open_cai_row(row).rejected == (*TURNS, Message(role="assistant", content=DRAFT_TEXT))
    assert standard_row(row, byte_tokenizer()).prompt == byte_tokenizer().decode(prompt_ids)
