"""The real vLLM engine on a tiny random model: adapters apart, JSON by its schema, scores, and death survived."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator

import pytest

from constitution.verdicts import parse_verdict, reply_schema
from generator.config import EngineConfig
from generator.engine import Adapter, Call, PromptTooLongError, Sampling
from generator.vllm_engine import VllmEngine
from records.chat import encode_chat
from records.digest import adapter_digest
from records.errors import ConfigError, StageError
from records.rows import Message
from tests.generator.toy import CONSTITUTION
from tests.trainer.tiny import build_adapter, build_model

pytestmark = pytest.mark.model

CONFIG = EngineConfig(sequences=32, cache_gib=0.1, eager=True, context=512, dtype="float32")
GREEDY = Sampling(temperature=0.0, max_tokens=12)


class Running:
    """An engine and the event loop that it lives in."""

    def __init__(self, engine: VllmEngine) -> None:
        self.engine = engine
        self.loop = asyncio.new_event_loop()

    def __call__(self, work):
        return self.loop.run_until_complete(work)

    def complete(self, calls):
        async def together():
            return await asyncio.gather(*(self.engine.complete(call) for call in calls))

        return self(together())


@pytest.fixture(scope="module")
def adapters(tmp_path_factory) -> tuple[str, list[Adapter]]:
    folder = tmp_path_factory.mktemp("engine")
    model = build_model(folder / "model", context=512)
    paths = [build_adapter(model, folder / f"adapter-{seed}", seed=seed, scale=0.5, r=8) for seed in (1, 2)]
    return str(model), [Adapter(path, adapter_digest(path)) for path in paths]


@pytest.fixture(scope="module")
def running(adapters) -> Iterator[Running]:
    model, both = adapters
    running = Running(VllmEngine(model, CONFIG, both))
    running(running.engine.start())
    yield running
    running(running.engine.close())
    running.loop.close()


def prompt_ids(running, number):
    turns = [Message(role="user", content=f"Question {number}: what is it?")]
    return tuple(encode_chat(running.engine.tokenizer, turns, add_generation_prompt=True))


def calls(running, adapter, count=20, **settings):
    return [Call(prompt_ids(running, n), GREEDY, adapter=adapter, **settings) for n in range(count)]


def token_ids(completions):
    return [completion.token_ids for completion in completions]


def test_base_requests_beside_adapter_requests_are_those_of_the_base(running, adapters):
    one, other = adapters[1]
    alone = token_ids(running.complete(calls(running, None)))
    mixed = running.complete(
        [call for trio in zip(*(calls(running, a) for a in (None, one, other)), strict=True) for call in trio]
    )
    assert token_ids(mixed[::3]) == alone
    assert not running.engine._llm.log_requests
    assert token_ids(mixed[1::3]) == token_ids(running.complete(calls(running, one)))
    assert sum(a != b for a, b in zip(alone, token_ids(mixed[1::3]), strict=True)) > 10
    assert sum(a != b for a, b in zip(token_ids(mixed[1::3]), token_ids(mixed[2::3]), strict=True)) > 10


def test_replies_obey_the_schema_in_its_key_order(running):
    principle = CONSTITUTION.principle("modest")
    sampling = Sampling(temperature=1.0, max_tokens=400)
    schema = reply_schema(principle)
    schema["properties"]["critique"]["maxLength"] = 20
    found = running.complete([Call(prompt_ids(running, n), sampling, schema=schema) for n in range(8)])
    whole = [completion for completion in found if completion.finish_reason == "stop"]
    assert len(whole) >= 4
    for completion in whole:
        # The grammar lets raw control characters into strings, which a model of random weights does write and the
        # strict reading does not take.
        reply = json.loads(completion.text, strict=False)
        assert list(reply) == ["critique", "verdict", "severity"]
        assert len(reply["critique"].encode()) <= 4 * 40
        strict = completion.text.isprintable()
        assert not strict or parse_verdict(principle, completion.text, finish_reason="stop").verdict == reply["verdict"]


def test_scores_are_those_of_transformers(running, adapters):
    import torch

    from tests.trainer.oracle import load_policy

    model, both = adapters
    ids = prompt_ids(running, 1) + prompt_ids(running, 2)
    for adapter in (None, both[0]):
        scores = running(running.engine.score(ids, adapter))
        policy = load_policy(model, adapter.path if adapter else None)
        with torch.no_grad():
            logits = policy(torch.tensor([ids])).logits.float()[0, :-1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        assert len(scores) == len(ids) - 1
        assert scores == pytest.approx(expected.tolist(), abs=0.05)


def test_a_draft_has_its_log_probability_and_its_length(running):
    (completion,) = running.complete(calls(running, None, 1, logprobs=True))
    assert completion.logprob is not None and completion.logprob < 0
    assert (completion.finish_reason, len(completion.token_ids)) in {
        ("length", 12),
        ("stop", len(completion.token_ids)),
    }
    assert completion.prompt_tokens == len(prompt_ids(running, 0))
    scores = running(running.engine.score(prompt_ids(running, 0) + completion.token_ids, None))
    assert sum(scores[-len(completion.token_ids) :]) == pytest.approx(completion.logprob, abs=0.5)


def test_a_prompt_that_does_not_fit_is_refused_not_cut(running):
    ids = prompt_ids(running, 0)
    most = running.engine.context - len(ids)
    with pytest.raises(PromptTooLongError):
        running.complete([Call(ids, Sampling(temperature=0.0, max_tokens=most + 1))])
    (whole,) = running.complete([Call(ids, Sampling(temperature=0.0, max_tokens=most))])
    assert whole.prompt_tokens == len(ids)


def test_an_adapter_that_changed_or_went_is_refused_at_the_start(adapters, tmp_path):
    model, both = adapters
    folder = tmp_path / "adapter"
    shutil.copytree(both[0].path, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 999}))
    changed = VllmEngine(model, CONFIG, [Adapter(folder, both[0].digest)])
    with pytest.raises(StageError, match="changed after it was trained"):
        asyncio.run(changed.start())
    gone = VllmEngine(model, CONFIG, [Adapter(tmp_path / "gone", both[0].digest)])
    with pytest.raises(StageError, match="cannot be read"):
        asyncio.run(gone.start())
    with pytest.raises(ConfigError, match="tokeniser cannot be loaded"):
        asyncio.run(VllmEngine(str(tmp_path / "no-model"), CONFIG).start())


# Last: it costs a second start.
def test_an_engine_killed_at_work_is_restarted_and_every_call_answered(running, adapters):
    import psutil

    engine, adapter = running.engine, adapters[1][0]
    before = token_ids(running.complete(calls(running, adapter)))
    deaths = engine.deaths
    children = psutil.Process().children(recursive=True)
    cores = [child for child in children if "EngineCore" in child.name() or "EngineCore" in " ".join(child.cmdline())]
    assert cores, [child.name() for child in children]

    async def kill_at_work():
        long = Sampling(temperature=0.0, max_tokens=300)
        work = [engine.complete(Call(prompt_ids(running, n), long, adapter=adapter)) for n in range(40)]
        first = asyncio.gather(*work, return_exceptions=True)
        await asyncio.sleep(0.3)
        for core in cores:
            core.kill()
        return await first

    found = running(asyncio.wait_for(kill_at_work(), 200))
    assert [type(one).__name__ for one in found] == ["Completion"] * 40
    assert engine.deaths == deaths + 1
    assert token_ids(running.complete(calls(running, adapter))) == before
