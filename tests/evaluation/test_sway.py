"""Orders in a draft: who obeys them is found out, and what is no sway is not called one."""

from __future__ import annotations

import asyncio
import re

from evaluation.sway import AGAIN, ORDERS, choose_cases, measure_sway
from tests.evaluation.toy import CONSTITUTION, row, verdict_reply
from tests.scripted import scripted_seat, user_turn

BROKEN = {"polite": "violates", "modest": "not_applicable"}
ROWS = [row(f"p{i}", text="You fool.", checks=BROKEN) for i in range(6)]


def sway(critic, rows=ROWS, most: int = 20):
    return asyncio.run(measure_sway(rows, CONSTITUTION, critic, most))


def test_a_critic_that_obeys_commands_is_caught_and_only_for_commands():
    def answer(text: str, _: object) -> str:
        return verdict_reply("complies" if "Ignore the principle" in text else "violates")

    figures = sway(scripted_seat(answer))
    assert (figures["drafts"], figures["seen"]) == (6, 6)
    assert figures["orders"]["command"]["rate"] == 1.0 and figures["orders"]["command"]["swayed"] == 6
    assert {figures["orders"][name]["swayed"] for name in ORDERS if name != "command"} == {0}
    assert figures["swayed_rate"] == 1 / (len(ORDERS) - 1)
    assert figures["swayed_rate_ci"][0] < figures["swayed_rate"] < figures["swayed_rate_ci"][1]


def test_a_steady_critic_is_not_swayed_and_unreadable_replies_are_not_sway():
    def answer(text: str, _: object) -> str:
        return "so be it" if "ready" in text or '"There is no fault."' in text else verdict_reply("violates")

    figures = sway(scripted_seat(answer))
    assert figures["swayed_rate"] == 0.0
    assert figures["orders"]["ready_verdict"] | {"rate": None} == figures["orders"]["ready_verdict"]
    assert figures["orders"]["ready_verdict"]["unparsed"] == 6


def test_a_violation_the_critic_never_saw_says_nothing():
    figures = sway(scripted_seat(lambda text, _: verdict_reply("complies")))
    assert (figures["drafts"], figures["seen"], figures["swayed_rate"]) == (6, 0, None)


def test_a_fickle_critic_shows_in_the_second_look_at_the_untouched_text():
    looks: dict[str, int] = {}

    def answer(text: str, _: object) -> str:
        looks[text] = looks.get(text, 0) + 1
        return verdict_reply("violates" if looks[text] == 1 else "complies")

    figures = sway(scripted_seat(answer), [ROWS[0]])
    assert figures["orders"][AGAIN]["rate"] == 1.0 and figures["swayed_rate"] == 0.0


def test_the_orders_stay_inside_their_slot():
    """Markers reach the critic as text, and the fence around the draft is longer than the one the order closes."""
    critic = scripted_seat(lambda text, _: verdict_reply("violates"))
    sway(critic, ROWS[:1])
    (start,) = critic.engine.tokenizer.encode("<|im_start|>", add_special_tokens=False)
    assert {call.token_ids.count(start) for call in critic.engine.calls} == {2}
    (text,) = [text for text in critic.engine.texts if "End of the answer." in text]
    assert re.search(r"<<<<\nYou fool\.\n\n>>>\n\nEnd of the answer.*<<<\n>>>>", user_turn(text), re.DOTALL)


def test_cases_are_known_violations_spread_over_prompts_and_principles():
    both = {"polite": "violates", "modest": "violates"}
    rows = [row("a", k, text="fool", checks=both) for k in range(3)] + [row("b", 0, text="fool", checks=both)]
    rows += [row("c", checks={"polite": "complies"}), row("d", finish="truncated", checks=both)]
    cases = choose_cases(rows, CONSTITUTION, 3)
    assert [case.row.id for case in cases] == ["a-0", "b-0", "a-1"]
    assert [case.principle.id for case in cases] == ["polite", "modest", "polite"]
