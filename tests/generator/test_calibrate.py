"""Chains followed for an estimate: the right ones, to their end, with the engines as full as in a whole round."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from typing import Any

import pytest

from generator.calibrate import Plan, choose_followed, cost_of, follow_chains
from generator.method import CRITIQUE
from records.progress import Progress
from tests.generator.toy import DRAFT_TEXT, method_of, outcome_of, principle_in, prompt, script
from tests.scripted import user_turn

PROMPTS = [prompt(f"How do I boil egg number {number}?", benign=number % 4 > 0) for number in range(60)]


def follow(plan: Plan, answer: Any = None) -> tuple[Any, Any, Any]:
    method = method_of(answer or script(draft=DRAFT_TEXT))
    display = Progress("calibrate", len(plan.followed) * plan.chains, io.StringIO())
    costs, ends = asyncio.run(follow_chains(plan, method, display))
    assert display.done == len(costs)
    return costs, ends, method.policy.engine


def plan_of(**changes: Any) -> Plan:
    known = {"followed": PROMPTS[:6], "load": PROMPTS[6:], "chains": 2, "in_flight": 10, "most": 60, "seconds": 60.0}
    return Plan(**(known | changes))


def test_followed_prompts_stand_for_all() -> None:
    chosen = choose_followed(PROMPTS, 20, 0)
    assert len({one.id for one in chosen}) == 20
    assert Counter(one.benign for one in chosen) == {True: 15, False: 5}
    assert chosen == choose_followed(PROMPTS[::-1], 20, 0)
    assert {one.id for one in chosen} != {one.id for one in choose_followed(PROMPTS, 20, 1)}
    long = [prompt("x" * (10 * number), benign=True) for number in range(1, 61)]
    lengths = sorted(len(one.messages[0].content) for one in choose_followed(long, 6, 3))
    assert all(100 * place < length <= 100 * (place + 1) for place, length in enumerate(lengths))
    assert len(choose_followed(PROMPTS[:5], 32, 0)) == 5


def test_every_followed_chain_is_counted_whole() -> None:
    costs, _, engine = follow(plan_of(load=()))
    row = outcome_of(script(draft=DRAFT_TEXT), PROMPTS[0])
    assert len(costs) == 12 and Counter(cost.prompt_id for cost in costs) == {one.id: 2 for one in PROMPTS[:6]}
    mine = next(cost for cost in costs if cost.prompt_id == PROMPTS[0].id)
    assert mine == cost_of(row) and mine.outcome == "pair"
    assert mine.total("calls") == len(row.trail) == sum(usage.calls for usage in mine.usage.values())
    assert mine.total("output_tokens") == sum(entry.output_tokens for entry in row.trail)
    assert sum(cost.total("calls") for cost in costs) == len(engine.calls)
    (complies,) = (
        cost.outcome for cost in follow(plan_of(followed=PROMPTS[:1], chains=1, load=()), script("Boil it."))[0]
    )
    assert complies == "complies"


def test_chains_of_one_prompt_draw_their_principles_anew() -> None:
    plan = plan_of(followed=PROMPTS[:1], chains=12, load=())
    method = method_of(script(draft=DRAFT_TEXT), draw=1)
    display = Progress("calibrate", 12, io.StringIO())
    asyncio.run(follow_chains(plan, method, display))
    engine = method.policy.engine
    questions = (text for text, call in zip(engine.texts, engine.calls, strict=True) if call.stage == CRITIQUE)
    asked = {principle_in(user_turn(text)) for text in questions}
    assert len(asked) > 1


def test_the_load_fills_the_engines_and_is_dropped_in_the_end() -> None:
    costs, ends, _ = follow(plan_of())
    assert len(costs) == 12
    assert len(ends) == 20, "twice as many as in flight"
    assert list(ends) == sorted(ends)


def test_no_more_chains_than_a_whole_round_has() -> None:
    costs, ends, _ = follow(plan_of(most=15))
    assert (len(costs), len(ends)) == (12, 15)
    costs, ends, _ = follow(plan_of(most=5, in_flight=5))
    assert (len(costs), len(ends)) == (12, 12), "those that are followed run whatever their number"


def test_the_load_begins_anew_where_prompts_are_few() -> None:
    _, ends, _ = follow(plan_of(load=PROMPTS[6:8]))
    assert len(ends) == 20


def test_after_its_seconds_only_followed_chains_are_waited_for() -> None:
    costs, ends, _ = follow(plan_of(followed=PROMPTS[:2], chains=1, seconds=1e-9, in_flight=40, most=10_000))
    assert len(costs) == 2 and len(ends) < 80


@pytest.mark.parametrize("stop", [0, 7])
def test_what_ends_a_chain_early_is_an_outcome(stop: int) -> None:
    answer = script(draft=lambda text: "" if f"number {stop}?" in text else DRAFT_TEXT)
    costs, _, _ = follow(plan_of(load=()), answer)
    assert Counter(cost.outcome for cost in costs) == ({"pair": 10, "truncated": 2} if stop < 6 else {"pair": 12})
