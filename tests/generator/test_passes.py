"""Several passes of critique and revision: what each looks at, and what alone decides the label."""

from __future__ import annotations

import asyncio

import pytest

from generator.generate import run_one
from generator.method import CRITIQUE, REVISION, VERIFICATION
from records.rows import Pair, Reject
from tests.generator.toy import CONSTITUTION, DRAFT_TEXT, honest, method_of, prompt, script, user_turn

ALL = tuple(principle.id for principle in CONSTITUTION.principles)


class World:
    """Texts are sets of faults: the draft breaks what `faults` says, and a rewrite mends what it is asked about.

    A rewrite may bring a fault in: `brings` maps the principle that is mended to the one that is broken by it.
    """

    def __init__(self, faults, brings=None, mends_at=1):
        self.texts = {DRAFT_TEXT: frozenset(faults)}
        self.brings, self.mends_at, self.asked = brings or {}, mends_at, 0
        self.running = DRAFT_TEXT

    def critic(self, principle, request, verifying, before):
        (found,) = {text for text in self.texts if f"\n{text}\n" in request}
        return "violates" if principle in self.texts[found] else "complies"

    def revise(self, principle, request, before):
        self.asked += 1
        faults = self.texts[self.running]
        if self.asked >= self.mends_at:
            faults = (faults - {principle}) | {self.brings.pop(principle, principle)} - {principle}
        self.running = f"Text number {self.asked}."
        self.texts[self.running] = faults
        return self.running

    def row(self, **settings):
        self.method = method_of(script(critic=self.critic, revise=self.revise), **settings)
        return asyncio.run(run_one(prompt(), 0, self.method))


def kinds(row, *wanted):
    return [(entry.kind, entry.principle) for entry in row.trail if entry.kind in wanted]


def test_each_pass_rewrites_for_its_own_principle_and_both_texts_are_judged_on_all():
    world = World(ALL)
    row = world.row(draw=1, passes=3)
    assert isinstance(row, Pair)
    assert sorted(row.principles) == sorted(row.violated) == sorted(row.verified) == sorted(ALL)
    assert {verdict.principle for verdict in row.draft_verdicts} == set(ALL)
    assert (row.rejected[0].content, row.chosen[0].content) == (DRAFT_TEXT, "Text number 3.")
    # In the order in which they were drawn: the draft's critique serves the first rewrite, later ones look again.
    first, second, third = row.principles
    assert kinds(row, "recheck", "revision") == [
        ("revision", first), ("recheck", second), ("revision", second), ("recheck", third), ("revision", third),
    ]  # fmt: skip
    stages = [call.stage for call in world.method.critic.engine.calls]
    assert [stages.count(stage) for stage in (CRITIQUE, REVISION, VERIFICATION)] == [3 + 2, 3, 3]


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_a_principle_counts_whatever_pass_it_was_drawn_for(passes):
    """The draft breaks one principle: it is a pair where any pass draws it, and complies where none does."""
    for broken in ALL:
        row = World({broken}).row(draw=1, passes=passes)
        assert len(row.principles) == passes
        if broken in row.principles:
            assert isinstance(row, Pair) and row.violated == (broken,)
            assert set(row.verified) == set(row.principles)
        else:
            assert isinstance(row, Reject) and row.reason == "complies"
            assert not kinds(row, "revision", "recheck", "verification")


def test_a_later_pass_mends_what_an_earlier_one_broke():
    drawn = World(ALL).row(draw=1, passes=2).principles
    brings = {drawn[0]: drawn[1]}
    row = World({drawn[0]}, dict(brings)).row(draw=1, passes=2)
    assert isinstance(row, Pair) and row.violated == (drawn[0],)
    assert kinds(row, "recheck", "revision") == [("revision", drawn[0]), ("recheck", drawn[1]), ("revision", drawn[1])]
    row = World({drawn[1]}, {drawn[1]: drawn[0]}).row(draw=1, passes=2)
    assert row.reason == "not_fixed", "the first pass is over: the final text is judged on its principle too"
    assert World({drawn[0]}, dict(brings)).row(draw=1, passes=1, verify_all=True).reason == "not_fixed"


def test_a_second_pass_over_all_principles_tries_again():
    assert World({"kind"}, mends_at=2).row().reason == "not_fixed"
    row = World({"kind"}, mends_at=2).row(passes=2)
    assert isinstance(row, Pair)
    assert kinds(row, "recheck", "revision") == [
        ("revision", "kind"), ("recheck", "polite"), ("recheck", "modest"), ("recheck", "kind"), ("revision", "kind"),
    ]  # fmt: skip


def test_an_unreadable_verdict_on_the_draft_counts_whatever_pass_it_is_of():
    drawn = World(ALL).row(draw=1, passes=2).principles

    def unread(principle, request, verifying, before):
        known = principle != drawn[1] or DRAFT_TEXT not in request
        return honest(principle, request, verifying, before) if known else "unparsed"

    method = method_of(script(critic=unread), draw=1, passes=2)
    row = asyncio.run(run_one(prompt(), 0, method))
    assert isinstance(row, Reject) and row.reason == "unparsed"


def test_what_a_later_pass_says_of_the_running_text_decides_nothing():
    """A recheck that cannot be read, or lies, changes the rewrites and no label."""
    for said in ("unparsed", "complies", "violates"):
        lying = lambda p, r, v, b, said=said: said if not v and DRAFT_TEXT not in r else honest(p, r, v, b)  # noqa: E731
        row = asyncio.run(run_one(prompt(), 0, method_of(script(critic=lying), draw=1, passes=3)))
        assert isinstance(row, Pair)
        assert {verdict.verdict for verdict in row.final_verdicts} == {"complies"}
        assert len(kinds(row, "revision")) == (3 if said == "violates" else 1)


def test_each_rewrite_continues_the_critique_of_the_text_it_rewrites():
    world = World(ALL)
    world.row(draw=1, passes=3)
    calls = zip(world.method.critic.engine.calls, world.method.critic.engine.texts, strict=True)
    for number, text in enumerate(text for call, text in calls if call.stage == REVISION):
        shown = DRAFT_TEXT if number == 0 else f"Text number {number}."
        assert f"\n{shown}\n" in text and text.count("<|im_start|>user") == 2
        assert "Change as little as possible" in user_turn(text)
