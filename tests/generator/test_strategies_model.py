"""Every strategy through the real vLLM with the demo's model: judged, compared, rated and rewritten by it for real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from constitution.checks import run_check
from constitution.load import load_constitution
from generator.config import EngineConfig, JudgeConfig
from generator.decide import decide_judgements
from generator.engine import Adapter, Sampling
from generator.generate import run_one
from generator.judge import compare
from generator.method import JUDGEMENT, REVISION, Method
from generator.seat import Seat, reply
from generator.sources import load_prompts
from generator.vllm_engine import VllmEngine
from records.chat import encode_pair
from records.digest import adapter_digest
from records.layouts import nemo_row, open_cai_row
from records.rows import Message, Pair, Prompt, Provenance, Reject
from records.splits import SplitShares, prompt_id
from tests.tracked import ROOT
from tests.trainer.tiny import build_adapter

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

DEMO = load_constitution("demo")
CONFIG = EngineConfig(context=1024, eager=True, cache_gib=0.25)
DRAWN = Sampling(temperature=0.8, top_p=0.95, max_tokens=120)
GREEDY = Sampling(temperature=0.0, max_tokens=120)


class Bench:
    """One engine with two adapters, the event loop that it lives in, and the prompts it is asked."""

    def __init__(self, folder: Path) -> None:
        model = ROOT / "demo" / "model"
        paths = [build_adapter(model, folder / f"adapter-{seed}", seed=seed, scale=0.1, r=1) for seed in (1, 2)]
        self.adapters = [Adapter(path, adapter_digest(path)) for path in paths]
        self.engine = VllmEngine(str(model), CONFIG, self.adapters)
        self.loop = asyncio.new_event_loop()
        found = load_prompts([str(ROOT / "demo" / "prompts.jsonl")], SplitShares())
        self.many = [prompt for prompt in found.of("train") if len(prompt.messages) == 1][:40]
        self.prompts = self.many[:20]

    def __call__(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def method(self, **settings: Any) -> Method:
        """The base in all seats, but for those that are named."""
        base = Seat(self.engine, GREEDY)
        seats = {"policy": Seat(self.engine, DRAWN), "critic": base, "reviser": base, "verifier": base}
        known = {**seats, **settings}
        authors = {name: known[name].author for name in seats}
        names = {"constitution": DEMO.name, "constitution_digest": DEMO.digest, "template_digest": DEMO.template_digest}
        made_with = Provenance(run="real", round=1, asks=1, **names, **authors)
        return Method(**{"constitution": DEMO, "provenance": made_with, **known})

    def rows(self, prompts: list[Prompt] | None = None, **settings: Any) -> list[Pair | Reject]:
        """The first chain of each prompt."""
        method = self.method(**settings)

        async def all_at_once() -> list[Pair | Reject]:
            return await asyncio.gather(*(run_one(prompt, 0, method) for prompt in prompts or self.prompts))

        return self(all_at_once())


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("strategies"))
    bench(bench.engine.start())
    yield bench
    bench(bench.engine.close())
    bench.loop.close()


@pytest.fixture(scope="module")
def best_of_4(bench: Bench) -> list[Pair | Reject]:
    return bench.rows(strategy="best_of_n", drafts=4, verify_all=True)


def pairs(rows: list[Pair | Reject]) -> list[Pair]:
    return [row for row in rows if isinstance(row, Pair)]


def broken(row: Pair, text: str) -> set[str]:
    """The principles that a text breaks by their exact checks."""
    checks = {principle.id: principle.check for principle in DEMO.principles if principle.check}
    return {id for id, check in checks.items() if run_check(check, row.prompt, text) == "violates"}


def test_ai_feedback_prefers_what_the_exact_check_prefers(bench: Bench) -> None:
    rows = bench.rows(bench.many, strategy="ai_feedback", drafts=3, draw=1)
    found = pairs(rows)
    assert len(found) >= 3, [row.reason for row in rows if isinstance(row, Reject)]
    right = 0
    for row in found:
        one, other = row.judgements
        assert (one.a, one.b) == (other.b, other.a) and one.preferred == other.preferred
        assert row.candidates[int(one.preferred)].side == "chosen"
        assert row.preference_probability is not None and 0.5 < row.preference_probability <= 1
        assert {*row.principles} == {one.principle}
        worse = [one.principle in broken(row, side[0].content) for side in (row.rejected, row.chosen)]
        right += worse == [True, False]
    assert right / len(found) >= 0.7
    reasons = {row.reason for row in rows if isinstance(row, Reject)}
    assert reasons <= {"tie", "judge_disagrees", "unchanged", "truncated", "unparsed"}
    ties = [row for row in rows if isinstance(row, Reject) and row.reason == "tie"]
    assert all(one.better == "tie" for row in ties for one in row.judgements)


def test_swapping_the_judges_inputs_swaps_its_verdict(bench: Bench, best_of_4: list[Pair | Reject]) -> None:
    """Whatever the real model says of two texts by name, it says of the same texts under each other's names."""
    rows = pairs(best_of_4)

    async def opinions(chosen: str, rejected: str) -> list[Any]:
        seat = Seat(bench.engine, GREEDY)

        async def one(row: Pair) -> Any:
            texts = {chosen: row.chosen[0].content, rejected: row.rejected[0].content}
            found = await compare(seat, DEMO, "Which is better?", row.prompt, texts, stage=JUDGEMENT)
            return decide_judgements([judgement for judgement, _ in found])

        return await asyncio.gather(*(one(row) for row in rows))

    there, back = bench(opinions("one", "two")), bench(opinions("two", "one"))
    swapped = {"one": "two", "two": "one", "": ""}
    agreed = sum(swapped[one.preferred] == other.preferred for one, other in zip(there, back, strict=True))
    # Batches of other sizes round otherwise, and a judge on the fence may fall on either side of it.
    assert agreed >= len(rows) - 1
    assert sum(one.preferred == "one" for one in there) >= 0.6 * len(rows)


def test_best_of_n_chooses_what_breaks_nothing_over_what_does(best_of_4: list[Pair | Reject]) -> None:
    found = pairs(best_of_4)
    assert len(found) >= 4, [row.reason for row in best_of_4 if isinstance(row, Reject)]
    right = [not broken(row, row.chosen[0].content) and bool(broken(row, row.rejected[0].content)) for row in found]
    assert sum(right) >= 0.9 * len(right)
    for row in found:
        assert set(row.verified) == {principle.id for principle in DEMO.principles}
        assert {row.chosen[0].content, row.rejected[0].content} <= {one.draft.text.strip() for one in row.candidates}
        assert all(one.draft.logprob < 0 and one.draft.token_ids for one in row.candidates)


def test_rating_gives_numbers_in_the_schema_or_nothing(bench: Bench) -> None:
    """The tiny model has never rated: this shows the plumbing, and that what it says is never taken for more."""
    rows = bench.rows(bench.prompts[:8], strategy="rating", drafts=2)
    for row in rows:
        entries = [entry for entry in row.trail if entry.kind == "rating"]
        for number, candidate in enumerate(row.candidates):
            last = [entry for entry in entries if entry.candidate == number][-1:]
            if candidate.rating is not None:
                assert json.loads(last[0].text)["rating"] == candidate.rating and last[0].verdict is None
            elif candidate.left_out == "unparsed":
                assert last[0].verdict == "unparsed"
        if isinstance(row, Pair):
            rated = {one.side: one.rating for one in row.candidates}
            assert rated["chosen"] > rated["rejected"]
        else:
            assert row.reason in ("tie", "unparsed", "unchanged", "truncated")
    assert any(row.candidates for row in rows)


def test_the_gate_is_passed_by_rewrites_that_the_judge_finds_no_worse(bench: Bench) -> None:
    gate = JudgeConfig(question="Which is better?")
    rows = bench.rows(gate=gate)
    judged = [row for row in rows if row.judgements]
    assert len(pairs(rows)) >= 5 and len(judged) >= len(pairs(rows))
    for row in judged:
        assert [(one.a, one.b) for one in row.judgements] == [("final", "draft"), ("draft", "final")]
        assert all(one.probability is not None for one in row.judgements if one.better != "unparsed")
        preferred = {one.preferred for one in row.judgements}
        assert isinstance(row, Pair) == (preferred != {"draft"} and "unparsed" not in preferred)
        assert row.preference_probability is None
    assert sum({one.preferred for one in row.judgements} == {"final"} for row in judged) >= len(judged) / 3


def greedy_drafts(bench: Bench, adapter: Adapter | None) -> list[str]:
    seat = Seat(bench.engine, GREEDY, adapter=adapter)

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(reply(seat, prompt.messages, stage=0) for prompt in bench.prompts))

    return [completion.text for completion in bench(all_at_once())]


def test_drafts_of_several_policies_in_one_engine_are_each_their_own(bench: Bench) -> None:
    policies: list[Adapter | None] = [None, *bench.adapters]
    alone = {(who.digest if who else ""): greedy_drafts(bench, who) for who in policies}
    shares = tuple((1 / 3, Seat(bench.engine, GREEDY, adapter=who)) for who in policies)
    rows = bench.rows(drafters=shares)
    authors = [row.draft.author.adapter_digest for row in rows if row.draft and row.draft.author]
    assert len(authors) == len(rows) and len(set(authors)) == 3
    said = [row.draft.text for row in rows if row.draft]
    assert sum(alone[who][n] == said[n] for n, who in enumerate(authors)) >= len(rows) - 2
    others = [alone[other][n] == said[n] for n, who in enumerate(authors) for other in alone if other != who]
    assert sum(others) < len(others) / 2, "the policies hardly differ, and this shows nothing"


def test_the_policy_rewrites_with_its_adapter(bench: Bench) -> None:
    """A rewrite by `reviser: policy` is what its adapter says to the very conversation, and not what the base says."""
    adapter = bench.adapters[0]
    policy = Seat(bench.engine, GREEDY, adapter=adapter)
    rows = [row for row in bench.rows(reviser=policy) if any(entry.kind == "revision" for entry in row.trail)]
    assert len(rows) >= 6
    assert {row.provenance.reviser.adapter_digest for row in rows} == {adapter.digest}
    assert {row.provenance.critic.adapter_digest for row in rows} == {""}

    async def first_rewrites(seat: Seat) -> list[str]:
        async def again(row: Pair | Reject) -> str:
            first = next(entry for entry in row.trail if entry.kind == "revision")
            (asked,) = [one for one in row.trail if one.kind == "critique" and one.principle == first.principle][-1:]
            return (await reply(seat, rewrite_turns(row, first.principle, asked.text), stage=REVISION)).text

        return await asyncio.gather(*(again(row) for row in rows))

    stored = [next(entry.text for entry in row.trail if entry.kind == "revision") for row in rows]
    by_policy, by_base = bench(first_rewrites(policy)), bench(first_rewrites(Seat(bench.engine, GREEDY)))
    same, other = (sum(a == b for a, b in zip(stored, said, strict=True)) for said in (by_policy, by_base))
    assert same >= len(rows) - 1
    assert other < same, "the adapter changes nothing, and this shows nothing"


def rewrite_turns(row: Pair | Reject, principle: str, critique: str) -> list[Message]:
    from constitution.render import critique_request, revise_request

    norm, draft = DEMO.principle(principle), row.draft.text.strip() if row.draft else ""
    return [
        Message(role="user", content=critique_request(DEMO, norm, row.prompt, draft)),
        Message(role="assistant", content=critique),
        Message(role="user", content=revise_request(DEMO, norm, row.prompt, draft)),
    ]


def test_a_system_line_and_earlier_turns_go_all_the_way(bench: Bench) -> None:
    asked = []
    for prompt in bench.prompts[:10]:
        turns = (
            Message(role="system", content="You help people at home."),
            Message(role="user", content="How do I clean my kettle?"),
            Message(role="assistant", content="To clean the kettle, rinse it with warm water."),
            Message(role="user", content=f"Thanks. Now, {prompt.messages[0].content}"),
        )
        asked.append(prompt.model_copy(update={"messages": turns, "id": prompt_id(turns)}))
    rows = bench.rows(asked) + bench.rows(asked, strategy="best_of_n", drafts=3)
    assert all(row.prompt == asked[number % len(asked)].messages for number, row in enumerate(rows))
    found = pairs(rows)
    assert {row.strategy for row in found} == {"revision", "best_of_n"}
    tokenizer = bench.engine.tokenizer
    for row in found:
        prompt_ids, chosen_ids = encode_pair(tokenizer, row.prompt, row.chosen)
        text = tokenizer.decode(prompt_ids)
        assert all(turn.content in text for turn in row.prompt) and text.count("<|user|>") == 2
        assert tokenizer.decode(chosen_ids).startswith(row.chosen[0].content)
        assert nemo_row(row, "t").context == open_cai_row(row).chosen[:-1] == row.prompt


def test_several_passes_end_in_a_text_that_keeps_to_all_of_them(bench: Bench) -> None:
    rows = bench.rows(bench.prompts[:12], draw=1, passes=3)
    found = pairs(rows)
    assert len(found) >= 3, [row.reason for row in rows if isinstance(row, Reject)]
    for row in found:
        assert len(row.principles) == len(set(row.principles)) == 3
        assert set(row.verified) == set(row.principles) == {verdict.principle for verdict in row.draft_verdicts}
        assert not broken(row, row.chosen[0].content) & set(row.principles)
        assert broken(row, row.rejected[0].content) & set(row.principles)


def test_the_judges_seat_is_the_critics(bench: Bench) -> None:
    method = bench.method(critic=replace(Seat(bench.engine, GREEDY), adapter=bench.adapters[1]))
    assert method.judge is method.critic
