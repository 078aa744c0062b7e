"""The demo's prompt file, and that what it holds out is taught nowhere."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from constitution.checks import check_problems
from constitution.schema import Check
from demo.build import MODEL_PATH, corpus_digest, draw_corpora
from demo.prompts import PROMPTS_PATH, build_questions, held_out_combos, prompts_text
from demo.recipe import ROLES, Row
from evaluation.measure import choose_prompts
from generator.sources import load_prompts
from loop.config import load_run_config
from records.rows import Message
from records.splits import SplitShares, normalise, split_of
from tests.tracked import ROOT

LINES = [json.loads(line) for line in PROMPTS_PATH.read_text(encoding="utf-8").splitlines()]


def messages_of(line: dict) -> tuple[Message, ...]:
    turns = line.get("messages") or [{"role": "user", "content": line["prompt"]}]
    return tuple(Message(**turn) for turn in turns)


def split(messages: tuple[Message, ...]) -> str:
    return split_of(messages, None, SplitShares())


def held_out_lines() -> list[dict]:
    return [line for line in LINES if split(messages_of(line)) != "train"]


def user_turns(messages: tuple[Message, ...]) -> set[str]:
    return {normalise(turn.content) for turn in messages if turn.role == "user"}


@pytest.fixture(scope="module")
def taught() -> list[Row]:
    """Every row that the weights which ship were trained on, shown by the digest that their building wrote down."""
    corpora = draw_corpora()
    recipe = json.loads((MODEL_PATH / "recipe.json").read_text(encoding="utf-8"))
    assert corpus_digest(corpora) == recipe["corpus_digest"]
    return [row for rows in corpora for row in rows]


def test_the_file_is_what_the_grammar_gives() -> None:
    assert PROMPTS_PATH.read_text(encoding="utf-8") == prompts_text()


def test_there_are_enough_prompts_of_every_kind_in_every_split() -> None:
    counts = Counter((split(messages_of(line)), line["benign"]) for line in LINES)
    assert len(LINES) >= 700 and len({messages_of(line) for line in LINES}) == len(LINES)
    assert counts["test", True] >= 60 and counts["test", False] >= 20
    assert counts["validation", True] + counts["validation", False] >= 60
    assert counts["train", True] + counts["train", False] >= 500
    assert 0.25 <= sum(not line["benign"] for line in LINES) / len(LINES) <= 0.3
    roles = Counter(tuple(turn.role for turn in messages_of(line)) for line in LINES)
    assert roles["user",] > 500 and roles["system", "user"] >= 30 and roles["user", "assistant", "user"] >= 30


def test_the_demo_evaluates_on_enough_prompts_to_refuse_and_to_answer() -> None:
    config = load_run_config(ROOT / "configs" / "demo.yaml")
    chosen = choose_prompts(load_prompts([str(PROMPTS_PATH)], config.splits).of("test"), config.evaluate)
    assert len(chosen) >= 60 and sum(bool(prompt.benign) for prompt in chosen) >= 30
    assert sum(prompt.benign is False for prompt in chosen) >= 10
    assert (config.evaluate.drafts, config.evaluate.critic_drafts) == (16, 4)


def test_every_check_compiles() -> None:
    for line in LINES:
        assert not check_problems(Check.model_validate(line["check"]))


def test_no_two_prompts_share_a_question() -> None:
    combos = [combo for asked in build_questions() for combo in asked.combos]
    assert len(combos) == len(set(combos))


def test_no_held_out_question_is_taught_in_any_role(taught) -> None:
    """By the whole conversation, by each normalised user turn, and by the text inside a critic's request."""
    conversations = {messages_of(line) for line in held_out_lines()}
    turns = set().union(*(user_turns(messages) for messages in conversations))
    assert len(turns) > len(held_out_lines())
    assert {row.role for row in taught} == {role.name for role in ROLES}
    for row in taught:
        assert row.asked.messages not in conversations and row.prompt not in conversations
        assert not user_turns(row.prompt) & turns
        # Inside a critic's request the question stands on a line of its own, between fences.
        lines = {normalise(line) for turn in row.prompt for line in turn.content.splitlines()}
        assert not lines & turns
        assert not row.asked.combos & held_out_combos()


def test_the_search_inside_requests_would_find_a_leak(taught) -> None:
    requests = [row for row in taught if row.role in ("critique", "verify", "compare", "revise")]
    for row in requests:
        lines = {normalise(line) for line in row.prompt[0].content.splitlines()}
        assert user_turns(row.asked.messages) <= lines
